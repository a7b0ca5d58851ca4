"""Imports run one way, and central runs on a machine without any vision library."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from edge import cli

ROOT = Path(__file__).parents[1]
OURS = ("models", "camera", "sync", "edge")
# what a folder may import of ours, beside itself; the longest name that fits a module counts
MAY_IMPORT = {
    "models": {"models"},
    "camera": {"camera", "models"},
    "sync": {"sync"},
    "edge": {"models", "camera", "sync", "edge"},
}
# sync's own packages: each may import those before it; `records` may not know of the ledger that keeps them
SYNC = ("format", "storage", "transport", "web", "node", "audit", "certificate", "verify", "central")
# edge's own packages: each may import those before it; its loose modules, HOME and the wiring, stand beside them
EDGE = (
    "keys",
    "place",
    "cameras",
    "people",
    "recognition",
    "visits",
    "papers",
    "rights",
    "desk",
    "visitor",
    "commands",
    "kiosk",
)
# one file each that runs beside nothing of ours, or is imported by anybody
ALONE = {"sync.printable", "sync.verify_standalone"}
NETWORKS = {"insightface", "onnxruntime"}
VISION = ("onnxruntime", "cv2", "insightface", "av", "scipy")


def modules() -> list[Path]:
    return sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides where it points"
            assert node.module is not None
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "import_module"):
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: an import by a name nobody can read"
            yield str(name.value), node.lineno


def test_there_is_something_to_judge() -> None:
    found = {dotted(path) for path in modules()}
    assert {"models.store", "camera.pipeline", "sync.node.ledger", "sync.central.ingest", "edge.node"} <= found


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_the_design_lets_it(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        if dotted(path).split(".")[0] == package
        for name, line in imported(path)
        if (top := name.split(".")[0]) in OURS and top not in MAY_IMPORT[package]
    ]
    assert wrong == []


# how a time or a text reads in a language: paper and records need them as much as pages do
NO_PAGES = ("sync.web.languages", "sync.web.times")


def test_the_desk_and_the_rights_know_nothing_of_their_pages() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        if dotted(path).startswith(("edge.desk", "edge.rights"))
        for name, line in imported(path)
        if name.startswith(("edge.kiosk", "edge.visitor", "sync.web", "fastapi", "starlette"))
        and not name.startswith(NO_PAGES)
    ]
    assert wrong == []


def test_what_strangers_reach_is_built_without_the_desk_s_pages() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        if dotted(path).startswith("edge.visitor")
        for name, line in imported(path)
        if name.startswith(
            ("edge.kiosk", "sync.web.gate", "sync.web.accounts", "sync.web.sessions", "sync.web.tablets")
        )
    ]
    assert wrong == []


def arrows(top: str, packages: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Every import into another of a top package's packages: from, to, and where it stands."""
    for path in modules():
        source = dotted(path).split(".")
        if source[0] != top:
            continue
        for name, line in imported(path):
            target = name.split(".")
            if target[0] == top and target[1:] and target[1] in packages and source[1:2] != target[1:2]:
                yield source[1] if source[1:] else "", target[1], f"{path.relative_to(ROOT)}:{line} imports {name}"


def test_every_module_of_sync_lies_in_one_of_its_packages() -> None:
    found = {dotted(path) for path in modules() if dotted(path).startswith("sync.")} - ALONE
    assert {name.split(".")[1] for name in found} == set(SYNC)


def test_between_sync_s_packages_imports_run_one_way() -> None:
    wrong = [
        where
        for source, target, where in arrows("sync", SYNC)
        if source not in SYNC or SYNC.index(target) > SYNC.index(source)
    ]
    assert wrong == []


def test_between_edge_s_packages_imports_run_one_way() -> None:
    found = list(arrows("edge", EDGE))
    assert ("desk", "people") in {(source, target) for source, target, _ in found}
    wrong = [where for source, target, where in found if source in EDGE if EDGE.index(target) > EDGE.index(source)]
    assert wrong == []


def test_central_needs_nothing_of_a_node_s_end() -> None:
    assert [where for source, target, where in arrows("sync", SYNC) if (source, target) == ("central", "node")] == []


def test_only_the_command_line_and_the_demo_reach_into_central() -> None:
    allowed = {"edge.cli", "edge.demo"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        for name, line in imported(path)
        if name.startswith("sync.central") and not dotted(path).startswith("sync.central")
        if dotted(path) not in allowed
    ]
    assert wrong == []


def test_networks_are_imported_in_models_only() -> None:
    # the demo's group picture is data of a distribution; no network of it is loaded
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules()
        for name, line in imported(path)
        if name.split(".")[0] in NETWORKS
        and dotted(path).split(".")[0] != "models"
        and (dotted(path), name.removesuffix(".get_image")) != ("edge.demo_film", "insightface.data")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", OURS)
def test_importing_a_package_loads_nothing_but_the_standard_library(package: str) -> None:
    (init,) = (path for path in modules() if dotted(path) == package)
    assert [name for name, _ in imported(init) if name.split(".")[0] not in sys.stdlib_module_names] == []


def without_vision(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process where no vision library can be imported."""
    block = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in VISION)
    command = [sys.executable, "-c", block + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


CENTRAL = """
import contextlib, io, json
from edge import cli

def call(*words):
    sys.argv = ["firstvisit", *words]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            cli.main()
    except SystemExit as ended:
        return ended.code, out.getvalue()

folder = sys.argv[1]
told = [
    call("central", "init", folder),
    call("central", "enroll", "--help"),
    call("central", "records", "--dir", folder, "--json"),
    call("central", "run", "--help"),
    call("verify", folder),
]
loaded = [name for name in ("models.pack", "camera.pipeline", "edge.node", "edge.people.vault") if name in sys.modules]
print(json.dumps({"told": told, "loaded": loaded}))
"""


def test_central_runs_where_no_vision_library_is_installed(tmp_path: Path) -> None:
    ended = without_vision(CENTRAL, tmp_path / "central")
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    (made, _), (enrol_help, text), (records, listed), (run_help, _), (verified, _) = answer["told"]
    assert (made, enrol_help, records, run_help, verified) == (0, 0, 0, 0, 0), ended.stderr
    assert "firstvisit central enroll" in text
    assert listed.strip() in ("", "[]")
    assert (tmp_path / "central" / "central.pub").is_file()
    assert answer["loaded"] == []


def test_central_s_server_itself_imports_without_a_vision_library() -> None:
    ended = without_vision("import sync.central.server, sync.verify.verify, sync.transport.broker\nprint('imported')")
    assert (ended.returncode, ended.stdout) == (0, "imported\n"), ended.stderr


def test_the_block_of_this_test_does_block() -> None:
    ended = without_vision("import camera.pipeline")
    assert ended.returncode != 0
    assert "cv2" in ended.stderr


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert [name for name in commands if f"`{name}`" not in text and f"firstvisit {name}" not in text] == []


def test_a_readme_names_every_module_of_the_node_but_the_pages() -> None:
    """A folder's own page, where it has one; else edge's, by the path under it."""
    edge = ROOT / "edge"
    unnamed = []
    for path in edge.rglob("*.py"):
        own = path.parent / "README.md"
        page = own if own.is_file() else edge / "README.md"
        told = f"`{path.relative_to(page.parent).as_posix()}`"
        if path.stem.startswith("__") or path.parent.name == "kiosk":
            continue
        if told not in page.read_text(encoding="utf-8"):
            unnamed.append(str(path.relative_to(ROOT)))
    assert unnamed == []
