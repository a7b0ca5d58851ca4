"""`firstvisit models`: which recognition packs there are, and installing them."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

if TYPE_CHECKING:
    from models.store import Status, Store


app = typer.Typer(
    help="Recognition packs: which there are, what they may be used for, installing them.\n\n"
    "Example: firstvisit models list",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

PIPE_COLUMNS = 160  # a pipe has no width of its own
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


@app.command("list")
def list_packs(as_json: Json = False) -> None:
    """Show every pack: installed or not, licence, size, and how many returning visitors it misses.

    Example: firstvisit models list
    """
    store = _store()
    statuses = store.list()
    if as_json:
        print(json.dumps([_as_dict(status) for status in statuses], ensure_ascii=False))
        return
    table = Table(title=f"Packs in {store.root}", title_justify="left", caption_justify="left")
    table.caption = "misses: share of returning visitors called new or unsure (FNIR at FPIR 1 %, 1,000 people enrolled)"
    for heading in ("name", "installed", "commercial use", "misses", "size", "licence"):
        table.add_column(heading, no_wrap=heading == "name")
    for status in statuses:
        pack = status.manifest
        installed = (
            f"[red]damaged: {status.fault}[/]" if status.fault else "[green]yes[/]" if status.installed else "no"
        )
        if pack is None:
            table.add_row(status.name, installed, "", "", "", "")
            continue
        missed = f"{pack.accuracy.fnir_fpir1pct_n1000:.1%}" if pack.accuracy else "not measured"
        size = f"{pack.size_bytes / 1e6:.0f} MB" if pack.size_bytes else "?"
        commercial = "[green]yes[/]" if pack.commercial_use else "[yellow]no[/]"
        table.add_row(status.name, installed, commercial, missed, size, pack.licence)
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


@app.command()
def install(
    name: Annotated[str | None, typer.Argument(help="The pack; default: mobilefacenet, else dlib-distilled.")] = None,
    from_dir: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Take the files from DIR where they lie there.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept a licence that does not allow commercial use.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch, verify and install a pack; one that is there already is left alone, a damaged one repaired.

    Example: firstvisit models install mobilefacenet --from /media/usb/models
    """
    store = _store()
    with _progress() as progress:
        done = store.install(name, from_dir=from_dir, accept_licence=accept_licence, progress=_Bars(progress))
    if done.warning:
        Console(stderr=True).print(f"[yellow]warning:[/] {done.warning}", soft_wrap=True)
    if as_json:
        print(json.dumps({"name": done.name, "already": done.already, "warning": done.warning}, ensure_ascii=False))
    else:
        print(f"{done.name}: {'was installed already' if done.already else f'installed in {store.root / done.name}'}")


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that insightface's FaceAnalysis accepts.")],
    name: Annotated[str | None, typer.Option(help="Name of the pack; default: the folder's.")] = None,
    faces: Annotated[
        Path | None,
        typer.Option(
            metavar="FACES_DIR", help="Measure its thresholds on FACES_DIR/PERSON/*.jpg (20 people and more)."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Install a folder of InsightFace networks as a pack; without --faces its thresholds are cautious guesses.

    Example: firstvisit models add ./my-pack --faces ./lfw
    """
    store = _store()
    calibration = None
    if faces is not None:
        from models.calibrate import measure_folder

        with _progress() as progress:
            calibration = measure_folder(folder, faces, _Bars(progress))
    added = store.add(folder, name, calibration=calibration)
    if as_json:
        print(json.dumps({"name": added.name, "pack_id": added.pack_id, "calibration": added.calibration.measured}))
    else:
        print(f"{added.name}: installed in {store.root / added.name}; thresholds: {added.calibration.measured}")


class Channels(StrEnum):
    RGB = "rgb"
    BGR = "bgr"


@app.command("add-liveness")
def add_liveness(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ONNX network with two outputs.")],
    crop: Annotated[float, typer.Option(help="The square it reads, in the face's longer sides.")],
    side: Annotated[int, typer.Option(metavar="PX", help="The side of its input.")],
    live_index: Annotated[int, typer.Option(min=0, max=1, help="Which output says live.")],
    channels: Annotated[Channels, typer.Option(help="The order of its input's channels.")] = Channels.RGB,
    licence: Annotated[str, typer.Option(help="Under which licence you have it.")] = "not stated",
) -> None:
    """Install a network that tells a face from a photograph held up; none comes with the program.

    Example: firstvisit models add-liveness antispoof.onnx --crop 1.5 --side 128 --live-index 0 --licence MIT
    """
    from models.liveness import add_liveness as add_network

    spec: dict[str, object] = {
        "crop": crop,
        "side_px": side,
        "live_index": live_index,
        "channels": channels.value,
        "licence": licence,
    }
    added = add_network(_store().root, file, spec)
    print(f"{added.file}: installed, sha256 {added.sha256[:12]}, licence: {added.licence}")


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The pack; default: all that are installed.")] = None,
    as_json: Json = False,
) -> None:
    """Compare installed files with the sha256 recorded when they were installed; exit code 1 on damage.

    Example: firstvisit models verify dlib
    """
    store = _store()
    names = store.installed() if name is None else [name]
    faults = {name: store.verify(name) for name in names}
    if as_json:
        print(json.dumps([{"name": name, "faults": found} for name, found in faults.items()], ensure_ascii=False))
    else:
        for pack, found in faults.items():
            print("\n".join(found) or f"{pack}: whole")
        if not names:
            print("no pack is installed")
    if any(faults.values()):
        raise typer.Exit(1)


def _store() -> "Store":
    from models.store import Store, default_root  # loads the vision libraries, which central's machine may lack

    return Store(default_root())


def _as_dict(status: "Status") -> dict[str, object]:
    pack = status.manifest
    row: dict[str, object] = {"name": status.name, "installed": status.installed, "fault": status.fault}
    if pack is not None:
        row |= {
            "about": pack.about,
            "licence": pack.licence,
            "commercial_use": pack.commercial_use,
            "size_bytes": pack.size_bytes,
            "fnir_fpir1pct_n1000": pack.accuracy.fnir_fpir1pct_n1000 if pack.accuracy else None,
            "calibration": pack.calibration.measured,
            "pack_id": pack.pack_id if pack.files else "",
        }
    return row


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


class _Bars:
    """Draws one bar a label on a rich Progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total or None)
        self._progress.update(self._tasks[label], completed=done, total=total or None)
