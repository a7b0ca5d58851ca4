"""One report's code at two nodes: what central alone can see, and what it tells the nodes of it."""

from collections.abc import Iterable
from itertools import pairwise

from sync.central.notices import append
from sync.central.store.codes import IssuedCode, Shown
from sync.central.store.store import Store
from sync.format.notices import ReportKnown
from sync.format.signing import Signer
from sync.storage.arrivals import CodeUse

AT_ONCE_US = 2 * 3600 * 1_000_000
"""Two arrivals within it cannot both be the one customer, where they are of two nodes: reasoned, not measured; two
offices of one town are rarely seen in less, and a desk that looks at it loses nothing."""


def twice(shown: Iterable[Shown]) -> list[tuple[Shown, Shown]]:
    """The neighbours in time at two nodes that are too close for one customer; shown: by arrival."""
    return [
        (one, other)
        for one, other in pairwise(shown)
        if one.node_id != other.node_id and other.arrived_us - one.arrived_us < AT_ONCE_US
    ]


def conflict(store: Store, use: CodeUse) -> str | None:
    """Say where else the report that a check-in names was shown too close in time; None where nowhere."""
    issued = _report(store, use)
    if issued is None:
        return None
    _, node_id, epoch, seq, arrived_us = use
    close = [
        one
        for one in store.code_shown(issued.code.hash)
        if one.node_id != node_id and abs(one.arrived_us - arrived_us) < AT_ONCE_US
    ]
    if not close:
        return None
    other = close[-1]
    return (
        f"report {issued.code.report_id} at epoch {epoch} seq {seq}, and at node {other.node_id}"
        f" epoch {other.epoch} seq {other.seq}"
    )


def tell_others(store: Store, use: CodeUse, key: Signer, now_us: int) -> list[str]:
    """Tell the other nodes at which a report may be shown that it was shown here for the first time; returns whom.

    key: central's notice key. Of later times at one node nothing is said: it could else fill the others' disks.
    """
    issued = _report(store, use)
    if issued is None or issued.subject is None or issued.revoked_us is not None:
        return []
    code = issued.code
    if code.until_us <= now_us or code.report_id is None or code.agent_id is None:
        return []
    _, node_id, epoch, seq, arrived_us = use
    if any(one.node_id == node_id and (one.epoch, one.seq) < (epoch, seq) for one in store.code_shown(code.hash)):
        return []
    said = ReportKnown(
        code.report_id, issued.subject, code.agent_id, code.made_us, code.until_us, node_id, max(0, arrived_us)
    )
    others = [
        node.node_id
        for node in store.nodes()
        if node.node_id != node_id and (not code.sites or node.site_id in code.sites)
    ]
    for other in others:
        append(store, other, said, key)
    return others


def _report(store: Store, use: CodeUse) -> IssuedCode | None:
    issued = store.issued_code(use[0].hex())
    return issued if issued is not None and issued.code.kind == "report" else None
