"""Detection error trade-off curves of several packs as one picture."""

from pathlib import Path

import numpy as np

from models import ModelsError
from models.evaluation import Evaluation


def require_matplotlib() -> None:
    """Raise ModelsError, in one line, where plots cannot be drawn: asked before anything is measured."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ModelsError("--plot needs matplotlib: pip install 'firstvisit[eval]'") from error


def plot(evaluations: list[Evaluation], path: Path) -> None:
    """Write a PNG to `path`: FNMR over FMR of pairs, and FNIR over FPIR of searches, a colour a pack."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    pairs, searches = figure.subplots(1, 2)
    for number, one in enumerate(evaluations):
        colour, styles = f"C{number}", ("-", "--", ":")
        if one.verification is not None:
            fmr, fnmr = zip(*one.verification.det, strict=True)
            pairs.plot(fmr, fnmr, color=colour, label=one.pack_id)
        for style, (label, points) in zip(styles, one.det.items(), strict=False):
            fpir, fnir = zip(*points, strict=True)
            searches.plot(fpir, fnir, style, color=colour, label=f"{one.pack_id}, N = {label}")
    probe = evaluations[0].probe_images
    pairs.set(title="Verification", xlabel="FMR", ylabel="FNMR")
    searches.set(title=f"Open-set identification, {probe} image(s) a probe", xlabel="FPIR", ylabel="FNIR")
    for axes in (pairs, searches):
        errors = any(np.greater(line.get_ydata(), 0).any() for line in axes.lines)
        axes.set(xscale="log", yscale="log" if errors else "linear")  # a log axis would show nothing of zero errors
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend(fontsize="small")
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise ModelsError(f"{path}: cannot be written: {error.strerror}") from error
