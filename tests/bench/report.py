"""The rows of a benchmark: printed as a table, written as JSON and drawn as a plot, each beside its goal."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its goal.

    what: is measured. beside: which peer or limit, in the same run. value, goal: in `unit`. detail: the medians behind
    it and how many runs they are of.
    """

    what: str
    beside: str
    value: float
    unit: str
    sense: Literal[">=", "<="]
    goal: float
    detail: str

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.sense == ">=" else self.value <= self.goal

    @property
    def share(self) -> float:
        """How far it carries towards its goal: 1 is the goal, more is better."""
        if self.sense == ">=":
            return self.value / self.goal
        return self.goal / max(self.value, 1e-9) if self.goal > 0 else (1.0 if self.met else 0.5)


def show(rows: list[Row], machine: str, folder: Path | None) -> None:
    """Print the rows; with a folder, also write bench.txt, bench.json and bench.png there."""
    lines = [f"machine  {machine}", ""]
    width = max(len(row.what) for row in rows)
    for row in rows:
        mark = "ok  " if row.met else "MISS"
        figure = f"{row.value:.2f}{row.unit} (goal {row.sense} {row.goal:g}{row.unit})"
        lines.append(f"{mark} {row.what:<{width}}  {figure:<34} beside {row.beside}: {row.detail}")
    print("\n".join(lines), flush=True)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.txt").write_text("\n".join(lines) + "\n")
    found = [{**asdict(row), "met": row.met} for row in rows]
    (folder / "bench.json").write_text(json.dumps({"machine": machine, "rows": found}, indent=1) + "\n")
    _plot(rows, machine, folder / "bench.png")


def _plot(rows: list[Row], machine: str, path: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        print("no plot: matplotlib is not installed (pip install 'firstvisit[eval]')")
        return
    figure, axes = plt.subplots(figsize=(10, 0.5 * len(rows) + 1.4), layout="constrained")
    shares = [min(row.share, 4.0) for row in rows]
    axes.barh(range(len(rows)), shares, color=["#2a7f62" if row.met else "#b3452c" for row in rows])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [row.what for row in rows])
    axes.invert_yaxis()
    for index, (row, share) in enumerate(zip(rows, shares, strict=True)):
        label = f"{row.value:.2f}{row.unit} (goal {row.sense} {row.goal:g}{row.unit})"
        axes.text(share + 0.03, index, label, va="center", fontsize=8)
    axes.set_xlim(0, 5.4)
    axes.set_xlabel("towards the goal, which is 1 (cut at 4)")
    axes.set_title(machine, fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
