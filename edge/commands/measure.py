"""How right recognition is: `models eval` on a folder of faces, `calibrate` on the site's own people.

`models eval` is here, and not in models/, because an image is weighed by the camera's own quality, as the node does.
"""

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edge import EdgeError
from models.cli import PIPE_COLUMNS

if TYPE_CHECKING:
    from models.evaluation import Evaluation

app = typer.Typer()
node_app = typer.Typer()


@app.command("eval")
def evaluate_packs(
    faces: Annotated[Path, typer.Option(metavar="DIR", help="Images as DIR/PERSON/IMAGE.", show_default=False)],
    pack: Annotated[list[str] | None, typer.Option(help="A pack, or several; default: all that are installed.")] = None,
    probe_images: Annotated[
        int, typer.Option(min=1, max=20, help="Make a probe of so many images of a person, as a track does.")
    ] = 1,
    same: Annotated[
        list[str] | None, typer.Option(metavar="A=B", help="Two names of one person, as found among the errors.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random galleries and intervals.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="A folder that keeps the vectors, so that a rerun is fast.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write every figure there.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the DET curves.")] = None,
    errors: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The worst errors of the first pack, as pairs of images.")
    ] = None,
) -> None:
    """Measure packs on a folder of faces: verification and open-set identification, with 95 % intervals.

    Terms as in ISO/IEC 19795-1 and NIST FRTE. Nothing is calibrated here: thresholds are those at which these very
    non-mates come to the FPIR.
    Example: firstvisit models eval --faces ./lfw --pack mobilefacenet --pack dlib --json eval.json --plot det.png
    """
    from camera.quality import quality
    from models.det_plot import plot as draw
    from models.det_plot import require_matplotlib
    from models.error_page import write_page
    from models.evaluation import evaluate
    from models.evaluation_table import tables
    from models.face_set import embed_folder, find_images
    from models.fusion import fused
    from models.pack import open_pack
    from models.store import Store, default_root

    if plot is not None:
        require_matplotlib()
    for out in (json_file, plot, errors):
        if out is not None and not out.parent.is_dir():
            raise EdgeError(f"{out}: no such folder to write to")
        if out is not None and out.is_dir():
            raise EdgeError(f"{out}: is a folder, not a file to write")
    find_images(faces)
    store = Store(default_root())
    names = pack or store.installed()
    if not names:
        raise EdgeError("no pack is installed: firstvisit models install")
    measured: list[Evaluation] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for name in names:
            opened = open_pack(store, name)
            task = progress.add_task(name, total=None)

            def tick(done: int, total: int, task: TaskID = task) -> None:
                progress.update(task, completed=done, total=total)

            found = embed_folder(faces, opened, tick, quality=quality, cache=cache).joined(same or ())
            for path in found.unreadable if not measured else ():
                print(f"{path}: not an image, left out", file=sys.stderr)
            progress.update(task, description=f"{name}: searching", total=None)
            if errors is not None and not measured:
                write_page(found, opened.pack_id, errors)
            measured.append(evaluate(found, opened.pack_id, fuse=fused, probe_images=probe_images, seed=seed))
            progress.remove_task(task)
    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    for table in tables(measured):
        console.print(table)
    for one in measured:
        for line in one.left_out:
            console.print(f"{one.pack_id}: left out: {line}", soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps([one.as_dict() for one in measured], indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        draw(measured, plot)


@node_app.command()
def calibrate(
    home: Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)],
    pack: Annotated[str | None, typer.Option(help="The model pack; default: the configured one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the thresholds, record nothing.")] = False,
    allow_lower: Annotated[
        bool, typer.Option("--allow-lower", help="Record it though it lowers the upper threshold.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the pack's own table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Learn from the people this node remembers how similar strangers look here, and set the thresholds by it.

    A running node follows at once; the record, `policy.changed`, holds numbers only. A lower upper threshold, at which
    people return, wants --allow-lower: strangers never look less alike because nobody real stands before the camera.
    Example: firstvisit calibrate --home HOME --dry-run
    """
    from edge.commands.screen import say
    from edge.home import Home
    from edge.people.vault import opened as opened_vault
    from edge.recognition.decision import GALLERY_FLOOR, Strictness
    from edge.recognition.site_calibration import in_force, learn, record
    from models.store import Store, default_root

    if undo and dry_run:
        raise EdgeError("--undo and --dry-run: give one of them")
    found = Home(home)
    settings = found.settings()
    store = Store(default_root())
    manifest = store.manifest(store.pick(pack or settings.recognition.pack))
    policy = found.policy(settings)
    strictness = Strictness.of(settings.recognition)
    with closing(found.open_ledger("node")) as ledger:
        if undo:
            if in_force(found, ledger, manifest.pack_id, manifest.calibration) == manifest.calibration:
                say(f"{manifest.pack_id}: the pack's own table holds already, nothing was recorded")
                return
            undone = record(ledger, policy, manifest.pack_id, None)
            say(f"{manifest.pack_id}: the pack's own table holds again, seq={undone.seq}", "recorded")
            return
        with opened_vault(found.database, found.keys_database) as vault:
            learnt = learn(ledger, vault, manifest.pack_id, manifest.calibration.of_tracks(), strictness)
        held = in_force(found, ledger, manifest.pack_id, manifest.calibration.of_tracks())
        upper = max(learnt.before.upper, strictness.rule(held, learnt.templates).upper)
        lowered = upper - learnt.after.upper
        if lowered > 0 and not (allow_lower or dry_run):
            raise EdgeError(
                f"the upper threshold would fall by {lowered:.3f}, from {upper:.3f} to {learnt.after.upper:.3f}, and"
                " more strangers be taken for people who return; faces that nobody has (drawings, prints, noise) do"
                " this. --dry-run shows it; where the people are real, --allow-lower records it"
            )
        seq = None if dry_run else record(ledger, policy, manifest.pack_id, learnt).seq
    if as_json:
        told = {"pack": manifest.pack_id, "seq": seq, **asdict(learnt)}
        print(json.dumps(told))
        return
    say(f"  {learnt.people:,} people, {learnt.pairs:,} pairs of strangers, pack {manifest.pack_id}")
    say(
        f"  left out: {learnt.known_same} pairs known to be one person, {learnt.excluded} over the upper threshold "
        "(more likely one person enrolled twice)"
    )
    gallery_n = max(learnt.templates, GALLERY_FLOOR)
    for name, rule in (("before", learnt.before), ("after", learnt.after)):
        say(f"  {name:<7} upper {rule.upper:.3f}   lower {rule.lower:.3f}   at N = {gallery_n:,}")
    if lowered > 0:
        say(
            f"the upper threshold falls by {lowered:.3f}: more strangers will be taken for people who return",
            "note",
            "yellow",
        )
    if seq is None:
        say("nothing was recorded", "dry run", "yellow")
    else:
        say(f"policy.changed seq={seq}; a running node follows at once", "recorded")
