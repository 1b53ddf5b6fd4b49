"""What stands beside an image in a tar: its label, and text whose words give it a tag."""

import json
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from nndefense.core.errors import InputError
from nndefense.images.classes import same_text
from nndefense.images.decode import Undecodable
from nndefense.images.tags import NO_CLASS, SHOWN, TagList
from nndefense.images.tars import Sample, read_text

MAX_CLASSES = 1_000_000  # that numbers without names may count
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


class Notes:
    """Reads labels and tags of samples; classes without a list of theirs are numbered when all are read.

    Args of the constructor:
        label: a key of the samples' JSON, "cls" for their files .cls, or None.
        caption: "txt" for their files .txt, a key of their JSON, or None.
        tags: the classes and their words; None takes the classes from the labels.
    """

    def __init__(self, label: str | None, caption: str | None, tags: TagList | None) -> None:
        self.label, self.caption, self.tags = label, caption, tags
        self.from_json = label not in (None, "cls") or caption not in (None, "txt")
        self.names: dict[str, int] = {}
        self.numbers = 0
        self.missing = {name: True for name in (label, caption) if name not in (None, "cls", "txt")}
        self.keys: tuple[str, ...] = ()

    def read(self, handle: BinaryIO, sample: Sample, where: str) -> tuple[int, int]:
        """Label and class of the tag of a sample, -1 each for none; names without a tag list are numbered as they come.

        Args:
            handle: of the tar.
            sample: without a fault.
            where: the sample is, for messages.

        Raises:
            Undecodable: a file that the label or the caption stands in is missing or damaged.
            InputError: a label that is no class.
        """
        notes = self._json(handle, sample) if self.from_json else {}
        label = NO_CLASS
        if self.label is not None:
            given = _numeral(read_text(handle, sample, "cls")) if self.label == "cls" else notes.get(self.label)
            label = self._class(given, where)
        # Also beside a label, so that a missing caption is found whatever the labels are.
        texts = [] if self.caption is None else self._texts(handle, sample, notes)
        if label != NO_CLASS or self.tags is None:
            return label, label
        return label, self.tags.class_of(texts)

    def _json(self, handle: BinaryIO, sample: Sample) -> Mapping[str, Any]:
        try:
            notes = json.loads(read_text(handle, sample, "json"))
        except (ValueError, RecursionError):
            notes = None
        if not isinstance(notes, dict):
            raise Undecodable("damaged json")
        self.keys = self.keys or tuple(notes)
        for name in [name for name in self.missing if name in notes]:
            del self.missing[name]
        return notes

    def _texts(self, handle: BinaryIO, sample: Sample, notes: Mapping[str, Any]) -> list[str]:
        found = read_text(handle, sample, "txt") if self.caption == "txt" else notes.get(self.caption or "")
        return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str)]

    def _class(self, given: Any, where: str) -> int:
        if given is None or given == "" or given != given:
            return NO_CLASS
        if isinstance(given, float) and given.is_integer():
            given = int(given)
        if not isinstance(given, int | str) or isinstance(given, bool):
            raise InputError(f"{where}: label {str(given)[:40]}; allowed: an integer, the name of a class, or null")
        if isinstance(given, int):
            return self._counted(given, where)
        if self.tags is not None:
            try:
                return self.tags.label_of(given)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        if self.numbers:
            raise InputError(f"{where}: label {given[:40]!r}, where others are numbers; allowed: all alike")
        # Surrogates can stand in JSON, and in no file.
        name = same_text(given.encode("utf-8", "backslashreplace").decode())
        return self.names.setdefault(name, len(self.names))

    def _counted(self, label: int, where: str) -> int:
        most = MAX_CLASSES if self.tags is None else len(self.tags.names)
        if not NO_CLASS <= label < most:
            raise InputError(f"{where}: label {label}; allowed: 0 to {most - 1}, or -1 for none")
        if self.names:
            raise InputError(f"{where}: label {label}, where others are names; allowed: all alike")
        self.numbers = max(self.numbers, label + 1)
        return label

    @property
    def settled(self) -> bool:
        """Whether `classes` is the same before and after samples are read."""
        return self.label is None or self.tags is not None

    def check(self) -> None:
        """Raise InputError if no sample had the key of its JSON that labels or captions should stand under."""
        if self.missing:
            some = ", ".join(self.keys[:SHOWN]) + (", ..." if len(self.keys) > SHOWN else "")
            raise InputError(f"no sample's JSON has the key {next(iter(self.missing))!r}; allowed: {some or 'none'}")

    def classes(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of all classes, and the label (C + 1,) of each number that `read` gave, -1 the last."""
        if self.tags is not None:
            names = self.tags.names
        elif not self.names:
            names = tuple(f"class {label}" for label in range(self.numbers))
        else:
            names = tuple(sorted(self.names))
            ranks = {name: label for label, name in enumerate(names)}
            return names, np.array([*(ranks[name] for name in self.names), NO_CLASS])
        return names, np.array([*range(len(names)), NO_CLASS])


def _numeral(text: str) -> int | str:
    """A file's text, as the number that it is."""
    text = text.strip()
    return int(text) if INTEGER.fullmatch(text) else text
