"""The keys of one node, each for the stretch of the chain in which it may sign."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from sync.format.notices import KeyRevoked
from sync.format.records import ROLE_OF_KIND, BadRecord, Record, Role, place
from sync.format.rotation import Rotation
from sync.format.signing import PublicKey

Place: TypeAlias = tuple[int, int]
"""(epoch, seq) of a record."""


Verifies: TypeAlias = Callable[[PublicKey, Record], bool]


def signature_verifies(key: PublicKey, record: Record) -> bool:
    """Whether the key signed the record."""
    return key.verify("record-sig", record.body, record.signature)


@dataclass(frozen=True, slots=True)
class Tenure:
    """A key in a role from the place `since` on, before the place `until`; None: it is in force still.

    ended_by: what ended it, for people.
    """

    key: PublicKey
    role: Role
    since: Place
    until: Place | None = None
    ended_by: str = ""

    def holds(self, at: Place) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


class KeyRing:
    """The keys in force at any place of a chain: enrolled, rotated along the chain, revoked by central.

    Everybody who judges records does it here. Rotations must be followed in chain order; a place already followed
    past can still be asked for.
    """

    def __init__(self, keys: Mapping[Role, PublicKey]) -> None:
        """keys: the enrolment of epoch 1."""
        self._tenures: list[Tenure] = []
        self._of_id: dict[str, list[Tenure]] = {}  # the same, for whoever asks with every record
        self._revoked: dict[str, KeyRevoked] = {}
        self.enrol(keys, 1)

    def enrol(self, keys: Mapping[Role, PublicKey], epoch: int) -> None:
        """Let these keys count from the first record of `epoch` on, instead of those before.

        A key that goes on in its role just goes on. Before any rotation is followed.
        """
        first = (epoch, 1)
        for role, key in keys.items():
            before = self._holder(role, first)
            if before is not None:
                if before.key == key:
                    continue
                self._end(before, first, f"replaced by the enrolment of epoch {epoch}")
            self._add(Tenure(key, role, first))

    def revoke(self, revocation: KeyRevoked) -> None:
        """Refuse what the key signed after the revocation's place; of two the earlier counts.

        Before any rotation is followed: what a revoked key handed on after that place was not its to give.
        """
        held = self._revoked.get(revocation.key_id)
        if held is None or (revocation.epoch, revocation.seq) < (held.epoch, held.seq):
            self._revoked[revocation.key_id] = revocation

    def check(self, record: Record, verifies: Verifies = signature_verifies) -> None:
        """Raise BadRecord unless a key in force at the record's place signed it, in the role its kind asks for.

        verifies: says whether the key signed it; where that was found out before, it need not be again.
        """
        if revocation := self.judge(record, verifies):
            after = place(revocation.epoch, revocation.seq)
            raise BadRecord(f"key {record.key_id} is revoked after {after}: {revocation.reason}")

    def judge(self, record: Record, verifies: Verifies = signature_verifies) -> KeyRevoked | None:
        """`check`, but for a record in which nothing is wrong but that its key was revoked before: that one is void.

        Returns the revocation of a void record, which proves nothing and must not be followed; None where it counts.
        """
        held = self._tenure(record)
        wanted = ROLE_OF_KIND.get(record.kind)
        if wanted is not None and wanted != held.role:
            raise BadRecord(f"{record.kind} is signed by the {held.role} key, only the {wanted} key may sign it")
        if not verifies(held.key, record):
            raise BadRecord("signature does not verify")
        return self._cut_off(held.key, (record.epoch, record.seq))

    def follow(self, record: Record) -> None:
        """Take over what a checked record changes; raises BadRecord for a rotation that is not proven."""
        if record.kind != "key.rotated":
            return
        at = record.epoch, record.seq
        rotation = Rotation.of(record)
        old = self._holder(rotation.role, at)
        if old is None or old.key.key_id != rotation.old:
            raise BadRecord(f"key.rotated: {rotation.old} is not the {rotation.role} key in force")
        if any(tenure.key == rotation.new for tenure in self._tenures):
            raise BadRecord(f"key.rotated: {rotation.new.key_id} has been a key of this node before")
        if revocation := self._cut_off(old.key, at):
            raise BadRecord(f"key.rotated: {rotation.old} is revoked after {place(revocation.epoch, revocation.seq)}")
        if not rotation.consented(record, old.key):
            raise BadRecord(f"key.rotated: the {rotation.role} key in force did not consent")
        next_ = (record.epoch, record.seq + 1)
        self._end(old, next_, f"retired by the rotation at {place(*at)}")
        self._add(Tenure(rotation.new, rotation.role, next_, old.until, old.ended_by))

    def in_force(self, role: Role, at: Place) -> PublicKey | None:
        """The key that may sign in this role at a place, as far as the chain has been followed."""
        held = self._holder(role, at)
        return None if held is None or self._cut_off(held.key, at) else held.key

    def named(self, key_id: str) -> PublicKey | None:
        """The key of this id, in force or not."""
        return self.by_id().get(key_id)

    def by_id(self) -> dict[str, PublicKey]:
        """Every key, in force or not, by its id."""
        return {key_id: tenures[0].key for key_id, tenures in self._of_id.items()}

    def tenures(self) -> list[Tenure]:
        """Every key ever in force, by its first place."""
        return sorted(self._tenures, key=lambda tenure: tenure.since)

    def revoked(self, key: PublicKey) -> KeyRevoked | None:
        return self._revoked.get(key.key_id)

    def cuts_off(self, record: Record) -> bool:
        """Whether the key that the record names was revoked at a place before it."""
        key = self.named(record.key_id)
        return key is not None and self._cut_off(key, (record.epoch, record.seq)) is not None

    def given_up(self, record: Record) -> bool:
        """Whether the key that the record names is revoked, from whatever place on."""
        return record.key_id in self._revoked

    def signed(self, body: bytes, signature: bytes) -> bool:
        """Whether any of these keys, in force or not, signed these bytes, whatever they say."""
        return any(key.verify("record-sig", body, signature) for key in {tenure.key for tenure in self._tenures})

    def _tenure(self, record: Record) -> Tenure:
        at = record.epoch, record.seq
        mine = self._of_id.get(record.key_id)
        if not mine:
            raise BadRecord(f"key {record.key_id} is not enrolled for node {record.node_id}")
        for tenure in mine:
            if tenure.holds(at):
                return tenure
        ended = [tenure.ended_by for tenure in mine if tenure.until is not None and tenure.until <= at]
        why = ended[-1] if ended else f"in force from {place(*mine[0].since)} on"
        raise BadRecord(f"key {record.key_id} is not in force: {why}")

    def _cut_off(self, key: PublicKey, at: Place) -> KeyRevoked | None:
        revocation = self._revoked.get(key.key_id) if self._revoked else None
        return revocation if revocation and at > (revocation.epoch, revocation.seq) else None

    def _holder(self, role: Role, at: Place) -> Tenure | None:
        return next((tenure for tenure in self._tenures if tenure.role == role and tenure.holds(at)), None)

    def _end(self, tenure: Tenure, until: Place, why: str) -> None:
        ended = replace(tenure, until=until, ended_by=why)
        for tenures in (self._tenures, self._of_id[tenure.key.key_id]):
            tenures[tenures.index(tenure)] = ended

    def _add(self, tenure: Tenure) -> None:
        self._tenures.append(tenure)
        self._of_id.setdefault(tenure.key.key_id, []).append(tenure)


def ring(keys: Iterable[tuple[int, Mapping[Role, PublicKey]]], revocations: Iterable[KeyRevoked] = ()) -> KeyRing:
    """The ring of a node's enrolments, [(epoch, keys)], and revocations, before any rotation."""
    made = KeyRing({})
    for epoch, enrolled in sorted(keys, key=lambda one: one[0]):
        made.enrol(enrolled, epoch)
    for revocation in revocations:
        made.revoke(revocation)
    return made
