"""What labels mean: wherever sets of images, or a set and a network, are joined, they are compared by names of classes.

A label is a number, and two sides that number classes differently would give wrong results without a word. So each side
says what its numbers are called: a set in set.json, a query set in its file, a network trained here in model.json.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nndefense.core.arrays import read_arrays
from nndefense.core.errors import InputError
from nndefense.core.seals import read_seal

# Where numbers of classes come from: the rank of a name among those that a set happens to have; a list of all classes,
# such as a publisher's; or the configuration, label by label.
Origin = Literal["ranks", "list", "mapping"]
ORIGINS = ("ranks", "list", "mapping")
SHOWN = 10
MEMBER = "class_list"


def same_text(name: str) -> str:
    """A name such that what reads the same is equal: Unicode's normal form C. File systems may store another."""
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True)
class ClassList:
    """What labels of a set or network are called.

    Attributes:
        owner: whose they are, for messages.
        names: by label, in normal form C; "" where it is not known.
        origin: where the numbers come from.
    """

    owner: str
    names: tuple[str, ...]
    origin: Origin

    @classmethod
    def of_set(cls, about: Mapping[str, Any]) -> "ClassList":
        """Those of an image set.

        Args:
            about: its set.json.
        """
        origin = about.get("labels", "list")
        names = tuple(map(same_text, about["class_names"]))
        if origin != "ranks":
            # What labels without a name are called; see `Folder` and `Notes`.
            names = tuple("" if name == f"class {label}" else name for label, name in enumerate(names))
        return cls(f"image set {about['name']}", names, origin)

    @classmethod
    def of_network(cls, about: Mapping[str, Any]) -> "ClassList | None":
        """Those of a network's outputs; None where it is not known what these mean.

        Args:
            about: its model.json.
        """
        known = about.get(MEMBER)
        return known and cls(f"network {about['name']}, trained on {known['owner']},", *_parts(known))

    @classmethod
    def of_queries(cls, path: str | Path) -> "ClassList | None":
        """Those of a query set; None where its file does not say.

        Args:
            path: .npz.

        Raises:
            FileFault: it is damaged.
        """
        if MEMBER not in read_seal(path)["about"].get("members", {}):
            return None
        known = json.loads(read_arrays(path, MEMBER)[MEMBER].tobytes())
        return cls(known["owner"], *_parts(known))

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"owner": self.owner, "names": list(self.names), "origin": self.origin}

    def stored(self) -> np.ndarray:
        """As a member of an .npz of numbers: uint8 (n,), the JSON's bytes."""
        return np.frombuffer(json.dumps(self.facts(), sort_keys=True).encode(), dtype=np.uint8)

    def check_same(self, other: "ClassList | None", key: str) -> None:
        """Raises InputError unless labels mean the same on both sides, as far as their names are known.

        Args:
            other: the other side; None where nothing is known of it.
            key: of the configuration, for the message.
        """
        if other is not None and (how := self._difference(other)):
            raise InputError(
                f"{key}: {how}; allowed: the same classes on both sides, or labels by name in the `classes` of a folder"
            )

    def _difference(self, other: "ClassList") -> str:
        if "mapping" not in (self.origin, other.origin):
            for one, two in ((self, other), (other, self)):
                for label, name in enumerate(one.names):
                    unknown = label < len(two.names) and not two.names[label]
                    if name and name not in two.names and not unknown:
                        return f"{two.owner} has no class {name!r}, which is label {label} of {one.owner}"
        mine, others = self._labels(), other._labels()
        for name in [name for name in mine if name in others]:
            if mine[name].isdisjoint(others[name]):
                label, another = min(mine[name]), min(others[name])
                return f"class {name!r} is label {label} of {self.owner} and {another} of {other.owner}"
        return ""

    def _labels(self) -> dict[str, set[int]]:
        """Labels by name; several classes may be called the same."""
        found: dict[str, set[int]] = {}
        for label, name in enumerate(self.names):
            if name:
                found.setdefault(name, set()).add(label)
        return found

    def check_count(self, classes: int | None, key: str) -> None:
        """Raises InputError where a set that numbers its own classes has another number of them than is told apart.

        Args:
            classes: that networks tell apart; None: any number of at least two.
            key: of the configuration, for the message.
        """
        count = len(self.names)
        if self.origin != "ranks" or (count > 1 if classes is None else count == classes):
            return
        held = f"{self.owner} has {count} class{'es' * (count != 1)} ({shown(self.names)})"
        allowed = "at least 2" if classes is None else f"{classes} (`classes`)"
        raise InputError(
            f"{key}: {held}; allowed: {allowed}, one a folder or name, or labels by name in the `classes` of a folder"
        )


def check_network(about: Mapping[str, Any], queries: str | Path, key: str = "queries.images") -> None:
    """Raises InputError where labels of a query set mean other classes than a network's outputs, as far as both say.

    Args:
        about: model.json of the network.
        queries: .npz.
        key: of the configuration, for the message.
    """
    known, found = ClassList.of_network(about), ClassList.of_queries(queries)
    if known and found:
        found.check_same(known, key)


def check_set(about: Mapping[str, Any], queries: str | Path, key: str) -> None:
    """Raises InputError where labels of a query set and of an image set differ; about: set.json, others as above."""
    ClassList.of_set(about).check_same(ClassList.of_queries(queries), key)


def _parts(known: Mapping[str, Any]) -> tuple[tuple[str, ...], Origin]:
    return tuple(known["names"]), known["origin"]


def shown(names: Sequence[str]) -> str:
    """The first of many names, for messages."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "") or "none"


def check_tags(task: ClassList, sets: Sequence[ClassList], key: str) -> None:
    """Raises InputError where a class of the task is one of none of the sets that images are chosen from by its name.

    Args:
        task: the test images' classes.
        sets: those of the sets; one whose labels are given by the configuration may lack some.
        key: of the configuration, for the message.
    """
    names = {name for one in sets for name in one.names}
    missing = [name for name in task.names if name and name not in names]
    if missing and "mapping" not in (one.origin for one in sets):
        have = shown(sorted(names - {""}))
        raise InputError(
            f"{key}: no set of it has class {missing[0]!r} of {task.owner}, they have {have}; allowed: the same, "
            "or a folder with labels by name in its `classes`"
        )
