"""What the words on corrections in a bundle rest on: whoever exports it chooses its records, and may leave some out."""

from collections.abc import Iterable, Sequence

from sync.format.accounts import changes_of
from sync.format.head_office import Basis, bases
from sync.format.messages import Notice
from sync.format.records import Record
from sync.format.visit_fields import text_of


def rests(records: Iterable[Record], linked: Sequence[Record], notices: Iterable[Notice]) -> dict[bytes, Basis]:
    """As `bases` has it, but `desk_as_held` where records are missing that may have said otherwise.

    Those are of between the word and the earlier of what it answers and what last told of its account: another
    password, or an answer before it. records: those that count, in the order of the chain; linked: the void ones too.
    """
    told = list(records)
    found = bases(told, notices)
    gapless_from: dict[bytes, tuple[int, int]] = {}
    for number, one in enumerate(linked):
        follows = number > 0 and one.prev_hash == linked[number - 1].hash
        gapless_from[one.hash] = gapless_from[linked[number - 1].hash] if follows else (one.epoch, one.seq)
    places: dict[str, tuple[int, int]] = {}
    changed: dict[str, tuple[int, int]] = {}
    for one in told:
        places[one.hash.hex()] = one.epoch, one.seq
        changed |= {change.account_id: (one.epoch, one.seq) for change in changes_of(one.kind, one.fields)}
        if found.get(one.hash) == "desk":
            asked = places.get(text_of(one.fields, "proposal") or "", (0, 0))
            if gapless_from[one.hash] > min(asked, changed[one.fields["account"]]):
                found[one.hash] = "desk_as_held"
    return found
