"""`firstvisit central nodes`: how every node stands, as central sees it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sync.format.stamp import rfc3339

if TYPE_CHECKING:
    from sync.central.store.rows import NodeRow, Refusal

app = typer.Typer()

_COLUMNS = ("node", "site", "state", "last seen", "head", "backlog", "alarms")


@dataclass(frozen=True, slots=True)
class Standing:
    """A node and what was refused of it, newest first."""

    node: "NodeRow"
    refusals: "tuple[Refusal, ...]"

    @property
    def state(self) -> str:
        """`fork` until somebody readmits it; `never` before its first word; else whether it is connected."""
        if self.node.chain == "fork":
            return "fork"
        if self.node.last_seen_us is None:
            return "never"
        return "online" if self.node.online else "offline"

    def listed(self) -> dict[str, Any]:
        """The row as `--json` prints it. backlog: records it claims beyond those held; None before it said."""
        node = self.node
        return {
            "node": node.node_id,
            "site": node.site_id,
            "state": self.state,
            "last_seen_at": _time(node.last_seen_us),
            "epoch": node.epoch,
            "seq": node.seq,
            "head_received_at": _time(node.head_received_us),
            "backlog": node.lag,
            "clock": node.clock_source,
            "pack": node.pack,
            "notices_open": node.pending_notices,
            "alarms": [
                {"code": one.reason, "count": one.count, "last_at": rfc3339(one.last_us), "detail": one.detail}
                for one in self.refusals
            ],
        }

    def cells(self) -> tuple[str, ...]:
        """The row as the table has it."""
        node = self.node
        alarms = [f"{one.reason} x{one.count}" for one in self.refusals]
        if node.clock_source == "unsynced":
            alarms.append("clock unsynced")
        return (
            node.node_id,
            node.site_id,
            self.state,
            rfc3339(node.last_seen_us, timespec="seconds") if node.last_seen_us is not None else "-",
            f"{node.epoch}:{node.seq}" if node.seq else "-",
            "-" if node.lag is None else f"{node.lag}",
            ", ".join(alarms) or "-",
        )


@app.command()
def nodes(
    directory: Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")] = False,
) -> None:
    """List the nodes: whether each is there, how far its chain has come, what it still has to send, what was refused.

    Example: firstvisit central nodes --dir central --json
    """
    from sync.central.store.location import open_store

    with open_store(directory) as store:
        refusals = store.refusals()
        found = [
            Standing(node, tuple(one for one in refusals if one.node_id == node.node_id)) for node in store.nodes()
        ]
    if as_json:
        for standing in found:
            print(json.dumps(standing.listed()))
    elif not found:
        print("no nodes yet: firstvisit central enroll or invite")
    else:
        _print_table([_COLUMNS, *(standing.cells() for standing in found)])


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _time(moment_us: int | None) -> str | None:
    return None if moment_us is None else rfc3339(moment_us)
