"""Entries put to the exact defence again, on what runs here have stored: clean images, and what broke them.

An image holds where the defence is right on it clean, on what the search for its worst case left of it, and on every
other stored query set within the budget whose answers are in the run's worst case. Each is asked about those that held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nndefense.axes.ball import Ball
from nndefense.axes.cells import PREDICTIONS
from nndefense.axes.numbers import number_text
from nndefense.axes.queries import CLEAN, WORST, Pack
from nndefense.axes.threat import ADAPTIVE, Threat
from nndefense.commands.leaderboard_entries import Entry
from nndefense.commands.rescore import Opened, ask, open_system, results_of
from nndefense.core.errors import InputError
from nndefense.evaluation.intervals import wilson_interval

if TYPE_CHECKING:
    from nndefense.evaluation.submissions import Submission

RESULTS = "results"


@dataclass(frozen=True)
class Rescored:
    """What the exact defence answers here.

    Attributes:
        n: images. clean: how many of them it is right about. worst: how many hold.
        sets: stored query sets that it was asked about.
    """

    n: int
    clean: int
    worst: int
    sets: int

    def agrees(self, entry: Entry) -> bool:
        """Whether these are the entry's counts."""
        return (self.clean, self.worst) == (entry.clean.right, entry.worst_case.right)

    def text(self, entry: Entry) -> str:
        """In words: 0.110 [0.073, 0.160] agrees; or what differs, and in which direction."""
        found = share_text(self.worst, self.n)
        if self.agrees(entry):
            return f"{found} agrees"
        told = []
        if self.worst != entry.worst_case.right:
            told.append(f"{'lower' if self.worst < entry.worst_case.right else 'higher'} than stated")
        if self.clean != entry.clean.right:
            told.append(f"clean {self.clean / self.n:.3f}")
        return f"{found} differs: {', '.join(told)}"


def share_text(right: int, n: int) -> str:
    """0.110 [0.073, 0.160]"""
    low, high = wilson_interval(right, n)
    return f"{right / n:.3f} [{low:.3f}, {high:.3f}]"


def find_runs(runs: Sequence[str], entries: Sequence[Entry]) -> dict[str, Path]:
    """Folders of results by the names that entries have for runs; those that are given come before results/NAME.

    Args:
        runs: folders of results, or names of runs in results.
        entries: whose runs they are.

    Raises:
        InputError: a folder is none of results, is no entry's, or is there twice.
    """
    named = [one.run for one in entries if one.run is not None]
    found: dict[str, Path] = {}
    for run in runs:
        folder = results_of(run)
        name = folder.resolve().name
        name = "" if name == RESULTS else name
        if name not in named:
            allowed = ", ".join(sorted({one or RESULTS for one in named})) or "no run, as no entry names one"
            raise InputError(f"--run {run}: no entry names a run {name or RESULTS!r}; allowed: {allowed}")
        if name in found:
            raise InputError(f"--run {run}: another run of that name is given; allowed: each once")
        found[name] = folder
    return {name: Path(RESULTS, name) for name in named} | found


def rescore_entry(entry: Entry, folders: dict[str, Path], device: str) -> Rescored | str:
    """What the exact defence answers, or why it was not asked.

    Args:
        entry: the entry.
        folders: as `find_runs` gives them.
        device: of the network.

    Raises:
        FileFault: a file of the run is damaged.
    """
    if entry.run is None or entry.defense is None:
        return "the entry names no run"
    folder, ball = folders[entry.run], Ball.parse(entry.ball)
    described = folder / "systems" / f"{entry.defense}.json"
    if not (folder / "attacks/clean.npz").is_file():
        return f"no {folder.as_posix()}"
    if not described.is_file():
        return f"no {described.as_posix()}"
    opened = open_system(folder, entry.defense, device)
    own = worst_pack(folder, entry.defense, ball, entry.epsilon)
    if own is None:
        return f"no worst case of {entry.defense} within {ball} {number_text(entry.epsilon)} in {folder.as_posix()}"
    submissions = [one for pack in (CLEAN, own, *other_packs(folder, opened, ball, own))
                   for one in submitted(folder, pack, entry.defense, entry.epsilon)]  # fmt: skip
    return hold(opened, submissions, entry)


def hold(opened: Opened, submissions: Sequence["Submission"], entry: Entry) -> Rescored | str:
    """Which images hold against every submission; the first is the clean images, the second the worst case."""
    from nndefense.core.arrays import read_arrays

    rows = read_arrays(submissions[1].path, "rows")["rows"]
    if len(rows) != entry.n:
        return f"the run's worst case is of {len(rows)} images, the entry's of {entry.n}"
    held, sets = set(rows.tolist()), 0
    clean = len(held)
    for place, submission in enumerate(submissions):
        if held:
            held = right_of(opened, submission, held)
            sets += 1
        if place == 0:
            clean = len(held)
    return Rescored(len(rows), clean, len(held), sets)


def right_of(opened: Opened, submission: "Submission", held: set[int]) -> set[int]:
    """Those of the images `held`, by their rows, that are answered right; images that a submission lacks hold."""
    from nndefense.evaluation.submissions import read_checked

    checked = read_checked(submission, opened.clean)
    kept = np.isin(checked.rows, sorted(held))
    if not kept.any():
        return held
    names = ("images", "labels", "rows", "delta")
    part = replace(checked, **{name: np.ascontiguousarray(getattr(checked, name)[kept]) for name in names})
    answers = ask(submission, part, opened)
    return held - set(answers.rows[~answers.correct].tolist())


def submitted(folder: Path, pack: Pack, defense: str, epsilon: float) -> Iterator["Submission"]:
    """A pack's query sets within a budget, the largest first."""
    from nndefense.evaluation.submissions import list_submissions

    found = list_submissions(_file(folder, pack), defense, None, None)
    yield from sorted((one for one in found if one.epsilon <= epsilon), key=lambda one: -one.epsilon)


def worst_pack(folder: Path, defense: str, ball: Ball, epsilon: float) -> Pack | None:
    """The pack that the search for a defence's worst case left for a budget; None where there is none."""
    place = folder / "attacks" / str(ball) / str(Threat(ADAPTIVE, defense)) / WORST
    for path in sorted(place.glob("eps-*.npz")):
        pack = Pack.parse(path.relative_to(folder / "attacks").as_posix().removesuffix(".npz"))
        if epsilon in pack.epsilons:
            return pack
    return None


def other_packs(folder: Path, opened: Opened, ball: Ball, own: Pack) -> list[Pack]:
    """Packs within a ball that are there and whose answers of the system are stored, but for one."""
    from nndefense.evaluation.outcomes import place_of

    system = opened.system
    root = folder / PREDICTIONS / system.model_name
    packs = [place_of(path, root)[1] for path in sorted((root / system.folder).rglob("*.npz"))]
    return [pack for pack in packs if pack.ball == ball and pack != own and _file(folder, pack).is_file()]


def _file(folder: Path, pack: Pack) -> Path:
    return folder / "attacks" / f"{pack}.npz"
