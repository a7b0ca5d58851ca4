"""What the commands show: a line with a marked word before it, or rows as a table or as JSON."""

import json
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sync.printable import printable

_out = Console()


def say(text: str, marked: str = "", style: str = "green") -> None:
    """Print a line, a marked word before it; never wrapped, for a path cut in two helps nobody, and never markup."""
    _out.print(Text.assemble((marked + " ", style) if marked else "", printable(text)), soft_wrap=True)


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return printable(str(value))


def show(rows: Iterable[dict[str, Any]], as_json: bool, columns: tuple[str, ...], empty: str) -> None:
    """Print rows as one JSON list, or as a table of these columns; `empty` where there are none."""
    listed = list(rows)
    if as_json:
        print(json.dumps(listed))
        return
    if not listed:
        print(empty)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in listed:
        table.add_row(*(Text(_cell(row[name])) for name in columns))
    # a pipe has no width of its own, and an id cut in two helps nobody
    console = _out if sys.stdout.isatty() else Console(width=max(shutil.get_terminal_size().columns, 240))
    console.print(table)
