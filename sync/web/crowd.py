"""How many connections a server holds open: whoever opens more than a share ends the oldest of their own."""

import socket
from collections import OrderedDict, defaultdict
from contextlib import suppress
from typing import Any

STRANGERS = 256  # connections of everybody who has shown no certificate, handshakes under way included
OF_ONE_HOLDER = 8  # of whoever shows one certificate: a node has one, and a second for a moment


class Listener(socket.socket):
    """A listening socket, used by one event loop, whose connections can use up no more than a part of what there is.

    Without it whoever connects and says nothing holds a file each, until the process has none for its own database.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._strangers: OrderedDict[int, socket.socket] = OrderedDict()
        self._of_holder: defaultdict[bytes, OrderedDict[int, socket.socket]] = defaultdict(OrderedDict)

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        _join(self._strangers, connection.fileno(), connection, STRANGERS)
        return connection, address

    def known(self, number: int, certificate: bytes) -> None:
        """The connection of this file number has shown a certificate (DER): it leaves the strangers."""
        connection = self._strangers.pop(number, None)
        if connection is None:
            return
        for holder, theirs in list(self._of_holder.items()):
            if not _open(theirs):
                del self._of_holder[holder]
        _join(self._of_holder[certificate], number, connection, OF_ONE_HOLDER)


def _open(group: OrderedDict[int, socket.socket]) -> int:
    """How many of a group are open; the others are forgotten."""
    for number, connection in list(group.items()):
        if connection.fileno() != number:
            del group[number]
    return len(group)


def _join(group: OrderedDict[int, socket.socket], number: int, connection: socket.socket, most: int) -> None:
    group.pop(number, None)  # of one that is closed, whose number this one was given
    if len(group) >= most and _open(group) >= most:
        _, oldest = group.popitem(last=False)
        with suppress(OSError):  # the other side was faster
            oldest.shutdown(socket.SHUT_RDWR)
    group[number] = connection
