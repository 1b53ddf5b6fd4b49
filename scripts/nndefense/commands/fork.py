"""Begin a run with the files of another one, so that only what differs is made again.

    nndefense fork cifar10 wide                     # results/wide, from results/cifar10
    nndefense fork . wide                           # from the run without a name, whose files lie in results/
    snakemake all --config run=wide ...             # then, with another K or another budget

BASE and NEW are names of runs. The files are linked, which takes neither time nor space, or copied where the file
system has no links; with them come Snakemake's own records, by which it tells what a changed configuration changes. A
file that is made again gets a new one in its place, and the other run keeps its own.
"""

import argparse
import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nndefense.commands.fork_records import (
    HOME,
    INCOMPLETE,
    RECORDS,
    RESULTS,
    Move,
    Record,
    belongs,
    moved,
    params_name,
    read_records,
    recorded,
    root_of,
    write_records,
)
from nndefense.config.checks_names import FOLDERS
from nndefense.config.sections import RUN_NAME
from nndefense.core.errors import InputError
from nndefense.core.lease import Lease
from nndefense.core.progress import Progress, counted
from nndefense.core.seals import RECEIPTS
from nndefense.core.text import visible

# What a file system says that has no links, or none to a file of others or of another disk.
NO_LINK = {errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Forked:
    """What a run begins with.

    Attributes:
        move: from which run to which.
        files: results that it has of the base.
        copied: how many files were copied, not linked; seals count.
        unlike: results of the base that it has to make itself: they say where the base lies, or were not finished.
    """

    move: Move
    files: int
    copied: int
    unlike: list[str]

    def __str__(self) -> str:
        how = "linked" if not self.copied else f"{self.copied:,} copied, others linked"
        shown = ", ".join(self.unlike[:3]) + (", ..." if len(self.unlike) > 3 else "")
        rest = f"; it makes its own of {shown}" if self.unlike else ""
        return f"{root_of(self.move.new)}: begins with {self.files:,} files of {root_of(self.move.base)}, {how}{rest}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("base", metavar="BASE", help="name of a run that was made here; . is the one without a name")
    parser.add_argument("new", metavar="NEW", help="name of the run to begin")


def main(arguments: argparse.Namespace) -> int:
    """Make the run's folder, and say what it begins with."""
    forked = fork(name_of(arguments.base), name_of(arguments.new))
    print(visible(str(forked)))
    print(f"next: snakemake TARGET --config run={forked.move.new} and what is to differ, or `run:` in a configuration")
    return 0


def name_of(word: str) -> str:
    """The run of a name or a folder: results/wide and wide are one; results, . and "" are the one without a name."""
    path = os.path.normpath(word) if word else "."
    return "" if path in (".", RESULTS) else path.removeprefix(f"{RESULTS}/")


def fork(base: str, new: str, folder: str | Path = ".") -> Forked:
    """Make `results/NEW` of the files of `results/BASE`; it is there whole, or not at all.

    Args:
        base: name of the run to begin with; "" for the one without a name.
        new: name of the run to begin.
        folder: that both runs work in, with `results` and `.snakemake`.

    Raises:
        InputError: a name that no run may have, a run that is there already, a base that Snakemake knows nothing of,
            or a run that works in the folder now.
        FileFault: the folder cannot be written to.
    """
    folder, move = Path(folder), Move(base, new)
    target = folder / root_of(new)
    check_names(move)
    if os.path.lexists(target):
        raise InputError(f"{root_of(new)}: is there already; allowed: a name of a run that is not, or delete it first")
    home = folder / HOME
    with working(folder):
        records = read_records(home / RECORDS, base)
        if not any((folder / path).is_file() for path in records):
            raise InputError(
                f"{root_of(base)}: Snakemake has no records of it in {HOME / RECORDS}; allowed: a run that was made "
                "here, with the usual --persistence-backend"
            )
        began = {path for path, _ in recorded(home / INCOMPLETE)}
        unlike = {path for path, one in records.items() if path in began or names_place(folder / path, one, move)}
        kept = {path: one for path, one in records.items() if path not in unlike}
        present = [path for path in kept if (folder / path).is_file()]
        copied = assemble([*present, *seals(folder, base)], folder, move, lambda: enter(home, move, kept))
    return Forked(move, len(present), copied, sorted(path[len(root_of(base)) + 1 :] for path in unlike))


def check_names(move: Move) -> None:
    """Raises InputError for a name that no run may have, or one name for both."""
    for what, name in (("BASE", move.base), ("NEW", move.new)):
        if not re.fullmatch(RUN_NAME, name) or name.lower() in FOLDERS or (what == "NEW" and not name):
            raise InputError(
                f"{what} is {name!r}; allowed: a name of 1 to 64 letters, digits, _ and -, that is no folder of the "
                "run without a name"
            )
    if move.base.lower() == move.new.lower():
        raise InputError(f"NEW is {move.new!r}, as BASE is; allowed: another name")


@contextlib.contextmanager
def working(folder: Path) -> Iterator[None]:
    """Be the one who works in a folder. InputError while a run does, or where one left a lock of unknown age."""
    home = folder / HOME
    if not home.is_dir():
        raise InputError(f"{home}: there is no such folder; allowed: where a run was made")
    with Lease(home / "nndefense.lease") as lease:
        # What a run does that finds such locks (rules/one_run.smk).
        locks = list(home.glob("locks/*.lock"))
        for path in locks if lease.orphaned else ():
            path.unlink(missing_ok=True)
        if locks and not lease.orphaned:
            raise InputError(
                f"{folder.absolute()}: is locked by a run; allowed: when it has ended; if it was killed, "
                "`snakemake --unlock` first"
            )
        lease.sign()
        yield


def names_place(path: Path, record: Record, move: Move) -> bool:
    """Whether a file says where the base lies, and so is another one in another run: commands to repeat it, say."""
    return params_name(record, move) and path.is_file() and move.named_in(path.read_bytes().decode("latin-1"))


def seals(folder: Path, run: str) -> list[str]:
    """Receipts and ledgers of a run, as paths below the folder."""
    found = (folder / root_of(run) / RECEIPTS).rglob("*.json")
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.startswith("."))


def enter(home: Path, move: Move, records: Mapping[str, Record]) -> None:
    """Have Snakemake know the new run's files, and nothing of an earlier run of that name."""
    write_records(home / RECORDS, move.new, {move.path(path): moved(one, move) for path, one in records.items()})
    for path, mark in list(recorded(home / INCOMPLETE)):
        if belongs(path, move.new):
            mark.unlink()
    # The folder of results gets its name behind what is said of it, also where the machine stops between.
    os.sync()


def assemble(paths: Sequence[str], folder: Path, move: Move, before: Callable[[], None]) -> int:
    """Put files into the new run's folder, which gets its name when all of them are in it.

    Args:
        paths: of files of the base, below the folder.
        folder: that the runs work in.
        move: from which run to which.
        before: called when all files are there.

    Returns:
        How many were copied.
    """
    target = folder / root_of(move.new)
    # Only who works here comes to this place.
    parts = target.with_name(f".{move.new}.fork")
    shutil.rmtree(parts, ignore_errors=True)
    copied = 0
    try:
        with Progress("fork", len(paths), "files") as progress:
            for path in counted(paths, progress):
                place = parts / Path(move.path(path)).relative_to(root_of(move.new))
                place.parent.mkdir(parents=True, exist_ok=True)
                copied += not linked(folder / path, place)
        before()
        os.rename(parts, target)
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return copied


def linked(source: Path, place: Path) -> bool:
    """Give a file another place, with its times; False where it had to be copied."""
    source = source.resolve()
    try:
        os.link(source, place)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copy2(source, place)
        return False
    return True
