"""Where each node last said it stands."""

import threading
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync.central.store.rows import NodeRow
from sync.central.store.store import Store
from sync.format.canonical import Fields
from sync.format.visit_fields import number_of, text_of

Inside: TypeAlias = Literal["in", "out", "unknown"]

_LOOKED_BACK = 400  # records before a node's head; each visit names the place


@dataclass(frozen=True, slots=True)
class Place:
    """lat, lon: WGS-84 degrees. accuracy_m: None where the record has none. inside: of the site's fence.

    fenced: the site has one. attested: the box sees around it what it saw when its place was attested.
    """

    lat: float
    lon: float
    accuracy_m: float | None
    source: str
    inside: Inside
    fenced: bool
    attested: bool


class Places:
    """The newest place of every node, read on from where it was read to before; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[str, tuple[tuple[int, int], Place | None]] = {}

    def of(self, store: Store, node: NodeRow) -> Place | None:
        with self._lock:
            upto, place = self._read.get(node.node_id, ((node.epoch, max(0, node.seq - _LOOKED_BACK)), None))
            if upto < (node.epoch, node.seq):
                for record in store.records(node.node_id, after=upto):
                    upto, place = (record.epoch, record.seq), _place(record.fields) or place
                self._read[node.node_id] = upto, place
        return place


def _place(fields: Fields) -> Place | None:
    """A record's place; whatever is not as protocol.md has it is left out, nodes write what they like."""
    told = fields.get("place")
    if not isinstance(told, dict):
        return None
    lat_e7, lon_e7, accuracy_e6 = (number_of(told, name) for name in ("lat_e7", "lon_e7", "accuracy_e6"))
    if lat_e7 is None or lon_e7 is None:
        return None
    inside: Inside = "unknown"
    match told.get("inside"):
        case "in" | "out" as inside:
            pass
    attested = number_of(told, "attested") != 0
    accuracy_m = None if accuracy_e6 is None else accuracy_e6 / 1e6
    fenced = inside != "unknown" or text_of(told, "fence") is not None
    source = text_of(told, "source") or ""
    return Place(lat_e7 / 1e7, lon_e7 / 1e7, accuracy_m, source, inside, fenced, attested)
