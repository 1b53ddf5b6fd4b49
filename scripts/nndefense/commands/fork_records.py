"""Snakemake's records of files, and what they say of the same files under another run's name.

Of every file that a job made, Snakemake notes rule, inputs, parameters and command; where they differ from those of
now, the job runs again. A record is a JSON file in `.snakemake/metadata`, and a file that a job has begun has a mark in
`.snakemake/incomplete`; both are named by the Base64 of the file's path.
"""

import binascii
import json
import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nndefense.config.checks_names import FOLDERS

RESULTS = "results"
HOME = Path(".snakemake")
RECORDS, INCOMPLETE = "metadata", "incomplete"
# As Snakemake makes them: a group may work in one folder.
MODE = 0o660

Record = dict[str, Any]


def root_of(run: str) -> str:
    """The folder of a run's results, below the working directory; "" is the run without a name."""
    return f"{RESULTS}/{run}" if run else RESULTS


def belongs(path: str, run: str) -> bool:
    """Whether a path, relative to the working directory, is of a run. Other runs lie within the one without a name."""
    root = root_of(run) + "/"
    if not path.startswith(root):
        return False
    head, below, _ = path[len(root) :].partition("/")
    return bool(run) or not below or head in FOLDERS


@dataclass(frozen=True)
class Move:
    """From one run's folder to another's.

    Attributes:
        base: name of the run whose files they are; "" for the one without a name.
        new: name of the run whose they will be.
    """

    base: str
    new: str

    def path(self, path: str) -> str:
        """A path under its new name; what is not of the base stays as it is."""
        return root_of(self.new) + path[len(root_of(self.base)) :] if belongs(path, self.base) else path

    def text(self, text: str) -> str:
        """A text, such as a command, in which the base's paths have their new names."""
        return self._place.sub(root_of(self.new), text)

    def named_in(self, text: str) -> bool:
        """Whether a text says where the base lies."""
        return self._place.search(text) is not None

    @cached_property
    def _place(self) -> re.Pattern[str]:
        # Behind the folder of the run without a name: a folder of its own, or a file with an ending.
        below = "|".join(map(re.escape, FOLDERS))
        end = r"(?![\w.-])" if self.base else rf"(?=/(?:{below})(?![\w-])|/[\w-]+\.[\w.-]+(?![\w./-]))"
        return re.compile(rf"(?<![\w./-]){re.escape(root_of(self.base))}{end}")


def moved(record: Mapping[str, Any], move: Move) -> Record:
    """What Snakemake would have noted, had the job worked for the new run.

    Args:
        record: of a file of the base.
        move: from which run to which.
    """
    found = dict(record)
    for name in ("input", "log"):
        if record.get(name) is not None:
            # Compared as lists, in this order.
            found[name] = sorted(map(move.path, record[name]))
    for name in ("shellcmd", "code"):
        if record.get(name) is not None:
            found[name] = move.text(record[name])
    if record.get("params") is not None:
        found["params"] = sorted(map(move.text, record["params"]))
    if record.get("input_checksums") is not None:
        found["input_checksums"] = {move.path(name): one for name, one in record["input_checksums"].items()}
    return found


def params_name(record: Mapping[str, Any], move: Move) -> bool:
    """Whether a job was given the place of the base as a value, which it may have written down."""
    return any(map(move.named_in, record.get("params") or ()))


# -- files


def record_file(folder: Path, path: str) -> Path:
    """The file of a record or a mark.

    Args:
        folder: of records or of marks; it must exist.
        path: of the file that it is about.
    """
    longest = os.pathconf(folder, "PC_NAME_MAX") - 1
    word = urlsafe_b64encode(path.encode()).decode()
    parts = [word[start : start + longest] for start in range(0, len(word), longest)]
    return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def recorded(folder: Path) -> Iterator[tuple[str, Path]]:
    """Paths of files that there is a record or a mark of, and where these are."""
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            try:
                word = file.relative_to(folder).as_posix().replace("/", "").replace("@", "")
                path = urlsafe_b64decode(word).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue
            yield path, file


def read_records(folder: Path, run: str) -> dict[str, Record]:
    """Records of a run's files, by path, sorted; those that are not whole count as none, as they do for Snakemake."""
    found = {}
    for path, file in recorded(folder):
        if belongs(path, run):
            try:
                value = json.loads(file.read_bytes())
            except ValueError:
                continue
            if isinstance(value, dict):
                found[path] = value
    return dict(sorted(found.items()))


def write_records(folder: Path, run: str, records: Mapping[str, Record]) -> None:
    """Write records of a run's files, and take away all others of that run.

    Args:
        folder: of records; made where there is none.
        run: that all of them are of.
        records: by the path of their files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path, file in list(recorded(folder)):
        if belongs(path, run) and path not in records:
            file.unlink()
    for path, record in records.items():
        file = record_file(folder, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(record), encoding="utf-8")
        file.chmod(MODE)
