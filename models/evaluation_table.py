"""The figures of several packs as tables for a terminal."""

from collections.abc import Iterator

from rich.table import Table

from models.bootstrap import Rate
from models.evaluation import Evaluation


def tables(evaluations: list[Evaluation]) -> Iterator[Table]:
    """Yield the tables: verification, then open-set identification."""
    yield _verification(evaluations)
    yield _open_set(evaluations)


def _verification(evaluations: list[Evaluation]) -> Table:
    table = Table(title="Verification", title_justify="left", caption_justify="left")
    table.caption = (
        "10 folds of people, threshold chosen on the other nine; [ ]: 95 % bootstrap over people; -: under 30 errors"
    )
    for heading in ("pack", "people", "images", "no face", "pairs mated", "non-mated", "accuracy"):
        table.add_column(heading, no_wrap=True)
    shown = next((one.verification for one in evaluations if one.verification), None)
    for tar in shown.tar if shown else ():
        table.add_column(f"TAR at FAR {tar.far:.2%}")
    for one in evaluations:
        row = [one.pack_id, f"{one.people:,}", f"{one.images:,}", str(one.failures_to_acquire)]
        if one.verification is None:
            table.add_row(*row, "nobody has two images")
            continue
        found = one.verification
        row += [f"{found.mated_pairs:,}", f"{found.nonmated_pairs:,}", _percent(found.accuracy)]
        table.add_row(*row, *(_percent(tar.tar) if tar.tar else "-" for tar in found.tar))
    return table


def _open_set(evaluations: list[Evaluation]) -> Table:
    probe = evaluations[0].probe_images
    made_of = "one image" if probe == 1 else f"{probe} images, fused"
    table = Table(
        title=f"Open-set identification (one image enrolled, a probe of {made_of})",
        title_justify="left",
        caption_justify="left",
    )
    table.caption = (
        "FNIR: own person not at rank 1, or under the threshold; unsure: the part of FNIR between FPIR 10 % and this\n"
        "threshold; other: the part that names somebody else; mates, non-mates: different people searched for;\n"
        "[ ]: 95 % bootstrap over people; an image without a face is a miss; all: everybody else is enrolled"
    )
    for heading in ("pack", "N", "mates", "non-mates", "rank 1", "FPIR", "threshold", "FNIR", "unsure", "other"):
        table.add_column(heading, no_wrap=True)
    for one in evaluations:
        for size in one.open_set:
            label = f"{size.gallery_n:,}{' (all)' if size.everybody else ''}"
            head = [one.pack_id.partition("@")[0], label, f"{size.mates:,}", f"{size.nonmates:,}", _percent(size.rank1)]
            for row in size.rows:
                table.add_row(
                    *head,
                    f"{row.fpir:.1%}",
                    f"{row.threshold:.3f}",
                    _percent(row.fnir),
                    f"{row.unsure.value:.1%}",
                    f"{row.another_person:.2%}",
                )
                head = [""] * len(head)
    return table


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.2f} \\[{100 * rate.low:.2f}, {100 * rate.high:.2f}] %"
