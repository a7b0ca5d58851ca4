"""How fast nodes that were away may catch up: central holds their acks back, and keeps its time for the others."""

from dataclasses import dataclass

from sync.format.wire import MAX_FRAME_RECORDS, MAX_WINDOW_FRAMES

LIVE_RECORDS = 200  # what a node may send at once without counting as one that catches up: some hours without a network
LIVE_RECORDS_PER_S = 5.0  # and what it may send for ever: a busy entrance makes one in ten seconds
PATIENCE_S = 3.0  # acks come within this where the window can bring it about: a node asks again after five
CREDIT_S = 0.25  # of unused time that counts: a frame is on its way while the lane is free


@dataclass(slots=True)
class _Node:
    allowance: float
    since_s: float  # when the allowance began to grow again
    due_s: float  # when its ack may go


class Backfill:
    """One lane for the records of all nodes that catch up. Knows no clock and no frames: times are monotonic seconds.

    A node catches up when it sends more than its live allowance; what goes beyond is counted against the lane, and
    its ack may go when the lane has come past it. Nodes share the lane frame by frame, for none has more in flight
    than its window. A node within its allowance is never held back.
    """

    def __init__(self, records_per_s: int) -> None:
        """records_per_s: for all nodes that catch up together."""
        self._records_per_s = records_per_s
        self._free_s = float("-inf")  # when the lane has come past everything counted so far
        self._nodes: dict[str, _Node] = {}
        self._held: set[str] = set()

    def took(self, node_id: str, records: int, now_s: float) -> None:
        """That many new records of a node have been committed."""
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = _Node(LIVE_RECORDS, now_s, now_s)
        if now_s > node.since_s:
            node.allowance = min(LIVE_RECORDS, node.allowance + (now_s - node.since_s) * LIVE_RECORDS_PER_S)
            node.since_s = now_s
        counted = max(0.0, records - node.allowance)
        node.allowance = max(0.0, node.allowance - records)
        if counted:
            self._free_s = max(self._free_s, now_s - CREDIT_S) + counted / self._records_per_s
            # the allowance grows from when the node is let go: it would else earn by waiting
            node.due_s = node.since_s = self._free_s
            self._held.add(node_id)

    def due(self, node_id: str, now_s: float) -> bool:
        """Whether a node's ack may go."""
        if node_id not in self._held:
            return True
        if now_s < self._nodes[node_id].due_s:
            return False
        self._held.discard(node_id)
        return True

    def window(self) -> int:
        """How many frames a node may have in flight, so that its acks come in time with so many others waiting."""
        share = PATIENCE_S * self._records_per_s / (max(1, len(self._held)) * MAX_FRAME_RECORDS)
        return max(1, min(MAX_WINDOW_FRAMES, int(share)))
