"""`firstvisit desk`: what the front desk's days came to, and what a code is."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge.commands.screen import say, show

if TYPE_CHECKING:
    from edge.desk.day import Day, Tally
    from sync.format.records import Record

app = typer.Typer(
    help="The front desk's days, and what a code is worth.\n\nExample: firstvisit desk days --home HOME",
    no_args_is_help=True,
)

HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
_COUNTS = ("registered", "companion", "not_customer", "refused", "left", "unclosed")


class By(StrEnum):
    DAY = "day"
    SHIFT = "shift"
    HOST = "host"


@app.callback()
def desk() -> None:
    """The front desk's days.

    Example: firstvisit desk days --home HOME
    """


@app.command()
def days(
    home: HomeOption,
    last: Annotated[int, typer.Option(min=1, max=4000, help="How many days back, without today.")] = 30,
    by: Annotated[By, typer.Option(help="A row for each day, or for each of its shifts or hosts.")] = By.DAY,
    as_json: JsonOption = False,
) -> None:
    """List the days that are closed: heads, how each arrival was closed, and the share that nobody closed (漏登率).

    Only records count that the desk's key has signed while it was in force. missed: a share, 0 to 1. before: with
    --json, of a day that was closed anew because its arrivals went on, what was signed of it before.

    Example: firstvisit desk days --home /var/lib/firstvisit/home --last 7 --by host
    """
    from edge.desk.day_closing import closings
    from edge.desk.shifts import Shifts
    from edge.home import Home
    from sync.format.stamp import to_us
    from sync.web.accounts import Accounts

    place = Home(home)
    settings = place.settings()
    today = Shifts(settings.desk.shift, settings.site.timezone).day(to_us(datetime.now(UTC)))
    with closing(place.open_ledger()) as ledger:
        told = [one for one in closings(place.path, ledger) if one[0][0].day >= today - timedelta(days=last)]
    accounts = Accounts(place.database)
    rows: list[dict[str, Any]] = []
    for *before, (day, record) in told:
        match by:
            case By.DAY:
                rows.append(_day(day, record) | {"before": [_day(*one) for one in before]})
            case By.SHIFT:
                rows += [{"day": str(day.day), "shift": one.shift_id, **_numbers(one.tally)} for one in day.shifts]
            case By.HOST:
                for one in day.hosts:
                    name = accounts.named(one.account_id) if one.account_id else None
                    who = {"account": one.account_id, "host": name or one.account_id}
                    taken_back = {"taken_back": one.taken_back}
                    rows.append({"day": str(day.day), **who, **_numbers(one.tally), **taken_back})
    columns = {
        By.DAY: ("day", "heads", *_COUNTS, "taken_back", "missed", "seq"),
        By.SHIFT: ("day", "shift", *_COUNTS, "missed"),
        By.HOST: ("day", "host", *_COUNTS, "taken_back", "missed"),
    }[by]
    show(rows, as_json, columns, "no day is closed yet: the kiosk closes each one in the night after it")


def _day(day: "Day", record: "Record") -> dict[str, Any]:
    return {
        "day": str(day.day),
        "heads": day.heads,
        "arrivals": day.total.arrivals,
        **_numbers(day.total),
        "taken_back": day.taken_back,
        "epoch": record.epoch,
        "seq": record.seq,
        "hash": record.hash.hex(),
    }


def _numbers(tally: "Tally") -> dict[str, Any]:
    missed = tally.missed
    return {**tally.counted(), "missed": None if missed is None else round(missed, 4)}


@app.command()
def code(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What a scanner reads; - takes it from stdin.", show_default=False)
    ],
    home: HomeOption,
    as_json: JsonOption = False,
) -> None:
    """Say what a code is worth here and now, under which hash records name it, and which ones do.

    Also of another system's code: so a check-in is found again by the code that was shown at it.

    Example: firstvisit desk code FVC1AEAW… --home /var/lib/firstvisit/home
    """
    import sys

    from edge.desk.codes import CodeReader, CodeRefused
    from edge.home import Home
    from edge.sure_time import SureTime

    place = Home(home)
    settings = place.settings()
    reader = CodeReader(place.path, place.keys_database, settings.site.id)
    found: dict[str, Any]
    try:
        given = sys.stdin.readline() if text == "-" else text
        with closing(place.open_ledger()) as ledger:
            judging_us = SureTime().judging_us(ledger)
        shown = reader.read(given, None, judging_us)
        found = {"state": "unknown" if shown.kind == "foreign" else "good", **shown.fields()}
    except CodeRefused as refused:
        found = {"state": refused.reason, "code": refused.code_hash}
    with closing(place.open_ledger()) as ledger:
        named = ledger.naming(found["code"], ("visit.checkin", "code.refused"))
    found["records"] = [f"{one.epoch}:{one.seq} {one.kind} {one.fields['visit']}" for one in named]
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        if name != "records":
            say(f"{name:<10} {value}")
    for line in found["records"]:
        say(f"  {line}")
