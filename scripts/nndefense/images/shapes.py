"""Drawn images of ten nameable things, and a web-like stream of those and others; no files needed."""

from collections.abc import Sequence

import numpy as np

from nndefense.errors import ConfigError
from nndefense.images.base import Batch, ImageSet, checked_rows, text_column
from nndefense.images.shapes_kinds import TASK_KINDS
from nndefense.images.shapes_random import Draws
from nndefense.images.shapes_scene import ALL_KINDS, render

CHUNK = 512  # rows drawn together: enough to amortise numpy's calls, few enough for the arrays to stay in cache


class Shapes(ImageSet):
    """Row i is a pure function of (seed, first + i) and the options, whichever rows are read together.

    Args:
        seed: non-negative.
        first: number of the first row in the endless set; ranges that do not overlap are disjoint sets.
        rows: how many.
        content: "task" draws the ten classes uniformly, tags are the class names. "web" draws a task
            kind with probability `task_share`, else a kind outside of the task (label -1).
        tag_noise: share of "web" tags replaced by the name of another kind.
        task_share: share of task kinds in "web" content.
        size: height and width in pixels.

    Raises:
        ConfigError: a value out of range.
    """

    class_names = tuple(kind.name for kind in TASK_KINDS)
    kind_names = tuple(kind.name for kind in ALL_KINDS)

    def __init__(
        self,
        seed: int,
        first: int,
        rows: int,
        content: str,
        tag_noise: float = 0.1,
        task_share: float = 0.5,
        size: int = 32,
    ):
        if content not in ("task", "web"):
            raise ConfigError(f"shapes content must be task or web, got {content!r}")
        for name, value in (("seed", seed), ("first", first), ("rows", rows)):
            if not 0 <= value < 2**62:
                raise ConfigError(f"shapes {name} must be a non-negative integer below 2^62, got {value}")
        for name, value in (("tag_noise", tag_noise), ("task_share", task_share)):
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"shapes {name} must be in [0, 1], got {value}")
        if not 8 <= size <= 256:
            raise ConfigError(f"shapes size must be in 8 .. 256 pixels, got {size}")
        self.seed, self.first, self.rows, self.size = seed, first, rows, size
        self.content, self.tag_noise, self.task_share = content, tag_noise, task_share

    def __len__(self) -> int:
        return self.rows

    def _draws(self, rows: np.ndarray) -> Draws:
        return Draws.of_rows(self.seed, rows + self.first)

    def kinds(self, rows: np.ndarray) -> np.ndarray:
        """Index of each row's kind in `kind_names`, int64 (n,); those below 10 are the classes."""
        draws = self._draws(rows)
        task = draws.integer("kind", len(TASK_KINDS))
        if self.content == "task":
            return task
        other = len(TASK_KINDS) + draws.integer("other kind", len(ALL_KINDS) - len(TASK_KINDS))
        return np.where(draws.chance("in task", self.task_share), task, other)

    def manifest(self) -> dict[str, np.ndarray]:
        rows = np.arange(self.rows, dtype=np.int64)
        kinds, tags = self.kinds(rows), self.kinds(rows)
        if self.content == "web":
            draws = self._draws(rows)
            away = 1 + draws.integer("wrong tag", len(ALL_KINDS) - 1)
            wrong = (kinds + away) % len(ALL_KINDS)
            tags = np.where(draws.chance("tag noise", self.tag_noise), wrong, kinds)
        return {
            "source": text_column([f"shapes/{self.seed}/{self.first + row}" for row in range(self.rows)]),
            "label": np.where(kinds < len(TASK_KINDS), kinds, -1),
            "tag": np.array(self.kind_names)[tags],
        }

    def read(self, rows: Sequence[int]) -> Batch:
        ids = checked_rows(rows, self.rows)
        images = np.empty((len(ids), self.size, self.size, 3), dtype=np.uint8)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            images[start : start + CHUNK] = render(self.kinds(part), self._draws(part), self.size)
        return Batch(images)
