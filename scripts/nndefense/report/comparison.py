"""A page that compares runs: a summary, then the differences of their cells."""

from collections.abc import Sequence

from nndefense.axes.cells import NEIGHBORS, Cell
from nndefense.axes.numbers import number_text
from nndefense.evaluation.comparing import Difference, Run, alone, same_images, settings_of
from nndefense.report.markup import markdown, markdown_table
from nndefense.report.names import setting_name, thousands

# Lines of a run's table, and values of an axis that are named; the CSV has all.
SHOWN, NAMED = 400, 8
HEADS = ("defence", "attack", "setting", "Δ", "reference", "this run", "difference [95 %]", "n")
NOTE = (
    "Differences are this run minus the reference. Where both have the same test images they are paired on these, with "
    "the interval of Agresti and Min (2005); otherwise images are taken for independent (Newcombe 1998), as n says. "
    "Accuracies are those of the images that are compared. Of intervals at 95 %, one in twenty excludes 0 by chance. "
    "Worst cases are over each run's own attacks."
)


def comparison_text(reference: Run, others: Sequence[tuple[Run, list[Difference]]]) -> str:
    """The page as Markdown.

    Args:
        reference: what others are compared with.
        others: runs, and their differences from it.
    """
    lines = [f"# {markdown(f'Runs compared with {reference.name}')}", "", NOTE, ""]
    for run, differences in others:
        lines += [
            f"## {markdown(run.name)}",
            "",
            *(f"- {markdown(one)}" for one in sentences(reference, run, differences)),
        ]
        lines += ["", *markdown_table(SUMMARY, summary(differences)), ""]
    for run, differences in others:
        lines += [f"## {markdown(f'Cells of {run.name}')}", "", *shown_note(differences)]
        lines += [*markdown_table(HEADS, map(line, chosen(differences))), ""]
    return "\n".join(lines)


SUMMARY = ("setting", "cells", "higher", "lower", "undecided", "mean difference", "largest gain", "largest loss")


def summary(differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """A line for each setting: how many cells differ beyond noise, and how far."""
    return [_summed(setting_name(name), own) for name, own in settings_of(differences).items()]


def _summed(name: str, own: Sequence[Difference]) -> tuple[str, ...]:
    directions, values = [one.direction for one in own], [one.value for one in own]
    counts = [directions.count(one) for one in (1, -1, 0)]
    gain, loss = max(own, key=lambda one: one.value), min(own, key=lambda one: one.value)
    return (
        name,
        f"{len(own):,}",
        *(f"{one:,}" for one in counts),
        f"{sum(values) / len(values):+.3f}",
        interval(gain) if gain.value > 0 else "none",
        interval(loss) if loss.value < 0 else "none",
    )


def sentences(reference: Run, run: Run, differences: Sequence[Difference]) -> list[str]:
    """What two runs have in common, how their images are told apart, and what only one of them has."""
    paired = [one.n for one in differences if one.n]
    said = [f"{_cells(len(differences))} in common: {len(paired):,} paired{_images(paired)}"]
    if unpaired := len(differences) - len(paired):
        same = same_images(reference, run)
        shared = same is not None and not len(same) and set(reference.images.rows) & set(run.images.rows)
        why = "the same ids are other images, or of another size" if shared else "no test image in common"
        said[0] += f", {unpaired:,} not ({why})"
    if same_images(reference, run) is None:
        said.append(
            "images are told apart by ids and labels alone, since a run has no attacks/clean.npz with pixel sums"
        )
    for one, other in ((reference, run), (run, reference)):
        count, axes = alone(one, other.cells)
        values = "; ".join(f"{axis} {_named(values)}" for axis, values in axes.items())
        said.append(f"{_cells(count)} of {one.name} alone" + (f", by {values}" if values else ""))
    return said


def _cells(count: int) -> str:
    return f"{count:,} cell{'s' * (count != 1)}"


def _images(counts: Sequence[int]) -> str:
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return f" on {least:,} test images" if least == most else f" on {least:,} to {most:,} test images"


def _named(values: Sequence[object]) -> str:
    more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    return ", ".join(map(str, values[:NAMED])) + more


def chosen(differences: Sequence[Difference]) -> list[Difference]:
    """Differences of a page, in their order: all, or the SHOWN largest in units of their intervals."""
    if len(differences) <= SHOWN:
        return list(differences)
    ranked = sorted(differences, key=lambda one: abs(one.value) / (one.high - one.low), reverse=True)
    kept = set(map(id, ranked[:SHOWN]))
    return [one for one in differences if id(one) in kept]


def shown_note(differences: Sequence[Difference]) -> list[str]:
    """Says where a table has not all."""
    if len(differences) <= SHOWN:
        return []
    return [f"The {SHOWN} of {len(differences):,} that differ most, beyond noise; all are in the CSV.", ""]


def line(one: Difference) -> tuple[str, ...]:
    """A cell as a line of the table."""
    cell, counts = one.cell, f"{one.n_reference:,} and {one.n_ours:,}"
    n = f"{one.n:,}" if one.n else f"{counts}, not paired"
    if one.n and {one.n_reference, one.n_ours} != {one.n}:
        n += f" of {counts}"
    return (
        system_text(cell, one.model),
        cell.attack,
        setting_name(cell.setting),
        f"{number_text(cell.epsilon)} ({cell.space})" if cell.epsilon else "0",
        f"{one.reference:.3f}",
        f"{one.ours:.3f}",
        interval(one),
        n,
    )


def interval(one: Difference) -> str:
    """+0.020 [-0.010, +0.051]"""
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def system_text(cell: Cell, model: str) -> str:
    """The defence of a cell: crop_ensemble; knn Targeted-8k conv_4_1 K = 50 CBW-D soft."""
    if cell.defense != NEIGHBORS:
        name = cell.defense
    else:
        votes = f"K = {cell.neighbors} {cell.weighting} {cell.combination}"
        name = f"{cell.defense} {cell.pool}-{thousands(cell.size)} {cell.features} {votes}"
    return f"{model}: {name}" if model else name
