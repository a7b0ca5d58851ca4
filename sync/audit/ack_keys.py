"""Ack keys that central has replaced: whoever stole one must not acknowledge today what a node writes today.

A `keys` notice is answered in the node's chain (`notice.applied`), and central signs nothing more with the old key once
it has told of the new one (`rotate` refuses while it runs). So an ack under the old key covers nothing behind the
answer. That says nothing of places before it: there a stolen key is as good as ever.
"""

from collections.abc import Iterable, Sequence

from sync.audit.chain_audit import Bad
from sync.format.head_office import APPLIED
from sync.format.keyring import Place
from sync.format.messages import Ack, BadMessage, Notice
from sync.format.public_keys import CentralKeys
from sync.format.records import Record, place
from sync.format.signing import PublicKey


class ReplacedAckKeys:
    """Holds the acks of one chain against the places where its node has heard of other ack keys."""

    def __init__(self, pinned: Sequence[CentralKeys], notices: Iterable[bytes]) -> None:
        """pinned: central's lists as `settle` has them. notices: of `keys`, or of any kind; verified, oldest first."""
        told = [notice for notice in map(Notice.unverified, notices) if notice.kind == "keys"]
        keys = [CentralKeys.of(notice.body).keys["ack"] for notice in told]
        self._replaced: dict[PublicKey, tuple[int, str]] = {}  # by which notice
        for key in {*keys, *(listed.keys["ack"] for listed in pinned[-1:])}:
            last = max((at for at, one in enumerate(keys) if one == key), default=-1)
            if last + 1 < len(told):
                self._replaced[key] = (told[last + 1].nseq, told[last + 1].hash.hex())
        self._answered: dict[tuple[int, str], Place] = {}

    def hear(self, record: Record) -> None:
        """Take what a verified record answers; one that is void is not to be heard."""
        if self._replaced and record.kind == APPLIED:
            nseq, hash_ = record.fields.get("nseq"), record.fields.get("hash")
            if isinstance(nseq, int) and isinstance(hash_, str):
                self._answered.setdefault((nseq, hash_), (record.epoch, record.seq))

    def check(self, ack: Ack) -> None:
        """Raise Bad where an ack covers what lies behind the answer to its key's successor."""
        for key, notice in self._replaced.items():
            answered = self._answered.get(notice)
            if answered is None or (ack.epoch, ack.upto_seq) <= answered:
                continue
            try:
                Ack.parse(ack.data, key)
            except BadMessage:
                continue
            at = place(ack.epoch, ack.upto_seq)
            raise Bad(f"the ack of {at} is under a key that central had replaced by {place(*answered)}")
