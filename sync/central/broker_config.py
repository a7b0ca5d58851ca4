"""What mosquitto needs to let in nodes and central, and nobody else: configuration, access list, certificates."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sync import SyncError
from sync.central.ca import Authority, server_names, write_pair
from sync.format.wire import MAX_FRAME_BYTES
from sync.storage.files import write_durably
from sync.transport.tls import CENTRAL_NAME, RENEW_BEFORE, TlsFiles, new_key, pem

_MAX_PACKET_BYTES = 300_000  # a frame of MAX_FRAME_BYTES and its topic

_CONF = """\
# mosquitto for FirstVisit, written by `firstvisit central broker-config`: run it again rather than edit this.
# One listener: TLS, a certificate of this central's authority, and the name in it is who somebody is.
per_listener_settings true
max_packet_size {max_packet}
# Small messages leave at once, not when TCP at the other end has confirmed the one before.
set_tcp_nodelay true
# Central takes the frames of all nodes: nothing waits for its confirmations one score at a time, and nothing is
# dropped before a thousand nodes have filled their windows.
max_inflight_messages 0
max_queued_messages 10000
# Nothing is lost with a broker's memory: only central's signed ack counts, sessions are clean, and what is not
# acknowledged is sent again. A queue on disk would be read back for nothing.
persistence false

listener {port}
tls_version tlsv1.2
cafile {folder}/ca.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.key
crlfile {folder}/crl.pem
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {folder}/acl
"""

_ACL = """\
# A node writes what is its own and reads what it is told: %u is the name in its certificate.
pattern write fv1/%u/up
pattern write fv1/%u/side
pattern write fv1/%u/status
pattern read fv1/%u/ack
pattern read fv1/%u/down

# Central. No node can be called so: a node's name holds no colon.
user {central}
topic read fv1/+/up
topic read fv1/+/side
topic read fv1/+/status
topic write fv1/+/ack
topic write fv1/+/down
"""

_README = """\
mosquitto for FirstVisit. To start it as this machine's broker, as root:

    chown -R mosquitto: {folder}
    ln -sf {folder}/mosquitto.conf /etc/mosquitto/mosquitto.conf && systemctl restart mosquitto

The broker's certificate holds for five years; central's log says two months before when it is due. Then, and after
`firstvisit central revoke-certificate`, run `firstvisit central broker-config` again, give the folder back to mosquitto
as above, and `systemctl restart mosquitto`: a session that is open already is ended by nothing less.

broker.key is the broker's alone. Nothing here lets anybody speak for a node or for central: what they say is signed
with other keys.
"""


_FILES = frozenset(("ca.crt", "broker.crt", "broker.key", "crl.pem", "acl", "mosquitto.conf", "README"))


def write_broker_config(
    authority: Authority, folder: Path, port: int, names: Sequence[str], now: datetime
) -> tuple[str, ...]:
    """Write everything mosquitto needs into a folder, and return the names its certificate stands for.

    names: under which nodes and central reach the broker. The broker's key and certificate are kept as long as they
    name just these and have time left; configuration, access list and revocation list are always written anew. Raises
    SyncError naming the file that cannot be written, or a folder that is somebody else's.
    """
    assert MAX_FRAME_BYTES < _MAX_PACKET_BYTES
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir()}
        if there - _FILES and not (folder / "mosquitto.conf").is_file():
            raise SyncError(f"{folder}: holds other things: name one that is new, empty or written by this before")
    except OSError as error:
        raise SyncError(f"{folder}: {error.strerror}") from error
    place = folder.resolve()
    if any(character.isspace() for character in str(place)):
        raise SyncError(f"{place}: mosquitto reads no path with a space in it")
    files = TlsFiles(folder, "broker")
    write_durably(files.ca, pem(authority.certificate))
    if not (files.complete() and set(server_names(files)) == set(names) and files.left(now) > RENEW_BEFORE):
        key = new_key()
        write_pair(files, key, authority.issue_server(names, key.public_key(), now, "broker").text)
    authority.write_revocation_list(folder / "crl.pem", now)
    write_durably(folder / "acl", _ACL.format(central=CENTRAL_NAME), 0o640)
    conf = _CONF.format(port=port, folder=place, max_packet=_MAX_PACKET_BYTES)
    write_durably(folder / "mosquitto.conf", conf)
    write_durably(folder / "README", _README.format(folder=place))
    return server_names(files)
