"""Compare runs: accuracies of all cells that two runs have in common, their differences, and 95 % intervals.

RUN is a folder of results, or the name of a run in results. The first one is the reference; of every other one, each
cell (attack, threat, budget, defence, pool, size, layer, K, weighting, combination) that both have is compared, paired
on the test images that both have. A page has a summary on top, and a CSV beside it all differences.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nndefense.axes.cells import PREDICTIONS, Cell
from nndefense.commands.images import check_suffix, suffix
from nndefense.core.errors import InputError
from nndefense.core.text import visible

KINDS = ("html", "md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of results, or names of runs in results")
    parser.add_argument(
        "--output",
        default="comparison.html",
        help="page to write, .html or .md; the .csv lies beside it (default: comparison.html)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Compare, write and print the summary; the exit code is 0."""
    from nndefense.core.files import write_text
    from nndefense.evaluation.comparing import MEASURED, compare_runs, read_run
    from nndefense.evaluation.rows import write_rows
    from nndefense.report.comparison import comparison_text, sentences
    from nndefense.report.pages.hypertext import html_of
    from nndefense.report.pages.page import document

    check_suffix("--output", arguments.output, KINDS)
    folders = find_runs(arguments.runs)
    reference, *others = [read_run(folder, run) for run, folder in folders.items()]
    compared = []
    for run in others:
        found = compare_runs(reference, run)
        if not found:
            alone = "; ".join(sentences(reference, run, found)[-2:])
            raise InputError(f"{run.name}: no cell in common with {reference.name} ({alone}); allowed: runs alike")
        compared.append((run, found))
    text = comparison_text(reference, compared)
    whole = (
        document(f"Runs compared with {reference.name}", html_of(text)) if suffix(arguments.output) == "html" else text
    )
    write_text(arguments.output, whole)
    table = Path(arguments.output).with_suffix(".csv")
    rows = [{"reference": reference.name, "run": run.name} | one.row() for run, found in compared for one in found]
    write_rows(table, rows, ("reference", "run", "model", *Cell._fields, *MEASURED))
    for run, found in compared:
        print(*(visible(f"{run.name}: {one}") for one in sentences(reference, run, found)), sep="\n")
    print(visible(f"{arguments.output}, {table}"))
    return 0


def find_runs(runs: Sequence[str]) -> dict[str, Path]:
    """Folders of results by what they are called. InputError for what is none, for one alone, and for one twice."""
    found: dict[str, Path] = {}
    for run in runs:
        places = [place for place in (Path(run), Path("results", run)) if (place / PREDICTIONS).is_dir()]
        if not places:
            raise InputError(
                f"{run}: holds no {PREDICTIONS}/; allowed: a folder of results, or a run's name in results"
            )
        if places[0].resolve() in [one.resolve() for one in found.values()]:
            raise InputError(f"{run}: stands there twice; allowed: each run once")
        found[run] = places[0]
    if len(found) < 2:
        raise InputError(f"{runs[0]}: stands alone; allowed: two runs or more")
    return found
