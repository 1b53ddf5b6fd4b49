"""Score attacked images, this workflow's or somebody else's, against the exact defence as deployed.

PATH is a pack of a run (attacks/BALL/THREAT/ATTACK/eps-….npz, which tells defence, ball and budgets), an .npz with
images (n, 3, H, W) float32 in [0, 1] and rows (n,), the ids of the test images in attacks/clean.npz, or a folder of
8-bit PNGs named ROW.png. Budgets are checked before anything is scored; labels are those of the test images. A defence
is described by results/systems/DEFENSE.json, which Snakemake makes.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.axes.ball import BALLS, Ball
from nndefense.axes.cells import Cell
from nndefense.axes.numbers import number_text
from nndefense.commands.images import check_suffix, in_columns
from nndefense.core.arrays import read_arrays
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.text import visible

if TYPE_CHECKING:
    from nndefense.defenses.base import Bound
    from nndefense.evaluation.base import Answers
    from nndefense.evaluation.holding import StoredWorst
    from nndefense.evaluation.submissions import Checked, Clean, Submission
    from nndefense.evaluation.systems import DefendedSystem

SHOWN = 20


@dataclass(frozen=True)
class Opened:
    """A described system, its test images, and what answers, which is made when it is asked for the first time."""

    system: "DefendedSystem"
    clean: "Clean"
    bound: "Callable[[], Bound]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("images", nargs="+", metavar="PATH", help="attacked images: .npz, or a folder of ROW.png")
    parser.add_argument(
        "--run", default="results", help="folder of the run's results, or name of a run in results (default: results)"
    )
    parser.add_argument(
        "--defense", help="name of the defence, also none and knn (default: the one that a pack's threat names)"
    )
    parser.add_argument("--epsilon", type=float, help="largest distance in the ball (default: every budget of a pack)")
    parser.add_argument(
        "--ball", choices=list(BALLS), help="what the budget bounds (default: raw01, or as of the pack)"
    )
    parser.add_argument("--output", help="table of result rows to write, as accuracy.csv: .csv")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="what to compute on (default: cpu)")


def main(arguments: argparse.Namespace) -> int:
    """Check everything, then score, print and write; the exit code is 0."""
    check_suffix("--output", arguments.output, ("csv",))
    epsilon, ball = arguments.epsilon, arguments.ball and Ball.parse(arguments.ball)
    if epsilon is not None and not (math.isfinite(epsilon) and epsilon > 0):
        raise InputError(f"--epsilon is {epsilon:g}; allowed: a number > 0")
    from nndefense.evaluation.accuracy import ACCURACY
    from nndefense.evaluation.rows import rows_of, write_rows
    from nndefense.evaluation.submissions import list_submissions, read_checked

    results = results_of(arguments.run)
    opened = cache(lambda name: open_system(results, name, arguments.device))
    listed = [
        one for path in map(Path, arguments.images) for one in list_submissions(path, arguments.defense, ball, epsilon)
    ]
    # Images are read again when they are scored: packs of large images do not fit in memory together.
    for one in listed:
        read_checked(one, opened(one.defense).clean)
    rows, notes = [], []
    for one in listed:
        against = opened(one.defense)
        answers = ask(one, read_checked(one, against.clean), against)
        rows += rows_of(ACCURACY, [answers], against.system.row_facts)
        notes += told(one, answers, against, results)
    print(table(rows, [(opened(one.defense).system.label, one) for one in listed]))
    print(*map(visible, notes), sep="\n", end="\n" if notes else "")
    if arguments.output:
        write_rows(arguments.output, rows)
    return 0


def results_of(run: str) -> Path:
    """The folder of results that --run names. InputError where there is no such run."""
    for place in (Path(run), Path("results", run)):
        if (place / "attacks" / "clean.npz").is_file():
            return place
    raise InputError(
        f"--run {run}: holds no attacks/clean.npz; allowed: a folder of results, or a run's name in results"
    )


def open_system(results: Path, name: str, device: str) -> Opened:
    """A described system of a run; name: of the defence."""
    from nndefense.evaluation.submissions import read_clean
    from nndefense.evaluation.systems import bind_system, find_system, read_system

    system = read_system(find_system(results, name))
    target = read_json(system.target)
    clean = read_clean(system.clean, (target["mean"], target["std"]))
    return Opened(system, clean, cache(lambda: bind_system(system, device)))


def ask(submission: "Submission", checked: "Checked", against: Opened) -> "Answers":
    """The exact answers of a system to submitted images."""
    from nndefense.core.progress import Progress
    from nndefense.defenses.batches import answers_in_batches
    from nndefense.evaluation.base import Answers
    from nndefense.evaluation.systems import doubts_of_system

    system = against.system
    with Progress(f"{system.name} {submission.path.name}", len(checked.rows), "images") as progress:
        shares = answers_in_batches(
            against.bound(),
            checked.images,
            checked.rows,
            seed=system.draws,
            batch=system.batch,
            on_batch=progress.advance,
        )
    cell = Cell(*system.columns, **submission.columns)
    delta = checked.delta if submission.ball else np.zeros(len(checked.rows))
    doubts = doubts_of_system(system, against.bound(), checked.images, checked.rows)
    return Answers(cell, shares.argmax(1), checked.labels, checked.rows, delta, idle_of(submission, checked), **doubts)


def idle_of(submission: "Submission", checked: "Checked") -> np.ndarray | None:
    """Which images an attack did nothing to, (n,) bool, as a pack of this workflow's tells; None for other images."""
    if submission.ball is None or submission.member is None:
        return None
    stored = read_arrays(submission.path, "rows", f"{submission.member}/idle")
    idle = dict(zip(stored["rows"].tolist(), stored[f"{submission.member}/idle"].tolist(), strict=True))
    return np.array([idle[row] for row in checked.rows.tolist()], dtype=bool)


def told(submission: "Submission", answers: "Answers", against: Opened, results: Path) -> list[str]:
    """What the table does not tell: of how many images it is, and what they break that held before."""
    from nndefense.evaluation.holding import stored_worst

    notes = []
    if len(answers.rows) < len(against.clean.rows):
        notes.append(f"{submission.path}: {len(answers.rows)} of the {len(against.clean.rows)} test images")
    if submission.ball is None:
        return notes
    worst = stored_worst(results, against.system, submission.ball, submission.epsilon)
    place = f"{against.system.label}, {submission.ball} {number_text(submission.epsilon)}"
    return notes if worst is None else [*notes, f"{place}: {broken(answers, worst)}"]


def broken(answers: "Answers", worst: "StoredWorst") -> str:
    """Which images break that no stored attack breaks, in words."""
    rows = sorted(set(answers.rows[~answers.correct].tolist()) & set(worst.holding.tolist()))
    if not rows:
        return f"breaks no image that the stored attacks leave (worst case {worst.accuracy:.4f})"
    names = ", ".join(map(str, rows[:SHOWN])) + (", …" if len(rows) > SHOWN else "")
    images, row = ("image", "row") if len(rows) == 1 else ("images", "rows")
    lower = worst.accuracy - len(rows) / len(worst.rows)
    return (
        f"breaks {len(rows)} {images} that no stored attack breaks: {row} {names} "
        f"(worst case {worst.accuracy:.4f} -> {lower:.4f})"
    )


def table(rows: list[dict[str, Any]], listed: list[tuple[str, "Submission"]]) -> str:
    """Result rows as text in columns; listed: the defence's label, and the submission, of each."""
    lines = [("defence", "attack", "ball", "epsilon", "n", "accuracy [95 %]", "mean delta", "max delta", "hold")]
    for row, (label, one) in zip(rows, listed, strict=True):
        own = f"{row['setting']}/{row['attack']}" if one.ball else "clean"
        lines.append(
            (
                label,
                own if one.member else f"{row['attack']}: {one.path.name}",
                row["space"],
                number_text(row["epsilon"]),
                str(row["n"]),
                f"{row['accuracy']:.4f} [{row['ci_low']:.4f}, {row['ci_high']:.4f}]",
                f"{row['delta_mean']:.6f}",
                f"{row['delta_max']:.6f}",
                f"{round(row['accuracy'] * row['n'])} of {row['n']}",
            )
        )
    return in_columns(lines)
