"""Some classes of another image set."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Whole
from nndefense.images.base import Batch, Block, ImageSet
from nndefense.images.classes import Origin, same_text
from nndefense.images.description import open_options

SHOWN = 10


class ClassesOf(ImageSet):
    """The images of another set that are of some of its classes.

    Rows count from 0, in the other set's order. Labels and class names stay those of the whole set, so that a network
    for all of its classes can be asked.

    Raises:
        ConfigError: a class that the set does not have, or that stands there twice.
        InputError: no image is of these classes.
    """

    def __init__(
        self,
        of: Annotated[
            Mapping[str, Any],
            Field(description="The other set: its `kind`, and the keys of that kind as below `images.*`."),
        ],
        classes: Annotated[
            list[str | Whole],
            Field(min_length=1, description="The classes, by name or by label; labels stay those of the whole set."),
        ],
    ):
        if "kind" not in of:
            raise ConfigError("classes_of: `of` has no `kind`; allowed: an image set, as below `images`")
        self.whole = open_options(of)
        self.classes = classes

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self.whole.class_names

    @property
    def labels_by(self) -> Origin:
        return self.whole.labels_by

    @cached_property
    def size(self) -> int:
        return self.whole.size

    @cached_property
    def resize(self) -> int | None:
        return self.whole.resize

    @cached_property
    def crop(self) -> str:
        return self.whole.crop

    def list_rows(self) -> Iterator[Block]:
        wanted = _labels(self.classes, self.class_names)
        found = count = 0
        for block in self.whole.manifest_blocks():
            kept = np.isin(block["label"], wanted)
            found, count = found + int(np.count_nonzero(kept)), count + len(kept)
            yield {name: values[kept] for name, values in block.items()}
        if not found:
            raise InputError(f"classes_of: none of {count} images is of the classes {_some(self.classes)}")

    def read_sources(self, sources: Sequence[str]) -> Batch:
        return self.whole.read_sources(sources)

    def files(self, sources: Sequence[str]) -> Sequence[Path]:
        return self.whole.files(sources)

    def noted(self) -> dict[str, Any]:
        return self.whole.noted()

    def news(self, noted: Mapping[str, Any]) -> str:
        return self.whole.news(noted)

    def facts(self) -> dict[str, Any]:
        return self.whole.facts()

    def recall(self, about: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.whole.recall(about, facts)


def _labels(classes: Sequence[str | int], names: Sequence[str]) -> list[int]:
    """The labels of classes by their names or labels.

    Args:
        classes: which.
        names: of all classes, by label.

    Raises:
        ConfigError: there is no such class, several are called so, or one stands there twice.
    """
    called: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        called.setdefault(same_text(name), []).append(label)
    found: set[int] = set()
    for one in classes:
        labels = called.get(same_text(one), []) if isinstance(one, str) else [one] if 0 <= one < len(names) else []
        if not labels:
            allowed = f"0 to {len(names) - 1}, or a name: {_some(names)}"
            raise ConfigError(f"classes_of: class {one!r} is unknown; allowed: {allowed}")
        if len(labels) > 1:
            raise ConfigError(f"classes_of: classes {_some(labels)} are all called {one!r}; allowed: one of these")
        if labels[0] in found:
            name = names[labels[0]]
            raise ConfigError(f"classes_of: class {labels[0]} ({name}) stands there twice; allowed: each once")
        found.add(labels[0])
    return sorted(found)


def _some(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:SHOWN])) + (", ..." if len(values) > SHOWN else "")
