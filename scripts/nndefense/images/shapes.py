"""Drawn images of ten nameable things, of others, and a web-like stream of both; no files needed."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError
from nndefense.core.options import Count, Share, Whole
from nndefense.core.progress import blocks
from nndefense.core.tables import ROWS
from nndefense.images.base import Batch, Block, ImageSet, checked_rows, number_of, text_column
from nndefense.images.shapes_kinds import TASK_KINDS
from nndefense.images.shapes_random import Draws
from nndefense.images.shapes_scene import ALL_KINDS, render

CHUNK = 512  # rows drawn together: enough to amortise numpy's calls, few enough for the arrays to stay in cache


class Shapes(ImageSet):
    """Drawn images that need no download; row i is a pure function of the seed and i.

    It is a function of (seed, first + i) and the options, whichever rows are read together. "task" content draws the
    ten classes uniformly, and tags are the class names. "web" content draws a task kind with probability `task_share`,
    else a kind outside of the task (label -1); a share `tag_noise` of its tags is replaced by the name of another kind.
    "others" draws the kinds outside of the task uniformly, as classes of their own.

    Raises:
        ConfigError: a value out of range.
    """

    numbered = True
    class_names = tuple(kind.name for kind in TASK_KINDS)
    kind_names = tuple(kind.name for kind in ALL_KINDS)

    def __init__(
        self,
        *,
        seed: Annotated[Whole, Field(description="Seed of the drawings.")] = 1,
        first: Annotated[
            Whole, Field(description="First image. Sets that must not share images take ranges that do not overlap.")
        ],
        rows: Annotated[Count, Field(description="Number of images.")],
        content: Annotated[
            Literal["task", "web", "others"],
            Field(
                description="`task`: the ten task classes; `web`: a mixed stream in which other kinds appear and some "
                "tags are wrong; `others`: the other kinds, as classes."
            ),
        ] = "task",
        task_share: Annotated[Share, Field(description="Share of task classes in the `web` stream.")] = 0.5,
        tag_noise: Annotated[Share, Field(description="Share of wrong tags in the `web` stream.")] = 0.1,
        size: Annotated[int, Field(ge=8, le=256, description="Side of the images in pixels.")] = 32,
    ):
        if content not in ("task", "web", "others"):
            raise ConfigError(f"shapes content must be task, web or others, got {content!r}")
        for name, value in (("seed", seed), ("first", first), ("rows", rows)):
            if not 0 <= value < 2**62:
                raise ConfigError(f"shapes {name} must be a non-negative integer below 2^62, got {value}")
        for name, share in (("tag_noise", tag_noise), ("task_share", task_share)):
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"shapes {name} must be in [0, 1], got {share}")
        if not 8 <= size <= 256:
            raise ConfigError(f"shapes size must be in 8 .. 256 pixels, got {size}")
        self.seed, self.first, self.rows, self.size = seed, first, rows, size
        self.content, self.tag_noise, self.task_share = content, tag_noise, task_share
        if content == "others":
            self.class_names = self.kind_names[len(TASK_KINDS) :]

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
        if self.content == "others":
            return other
        return np.where(draws.chance("in task", self.task_share), task, other)

    def list_rows(self) -> Iterator[Block]:
        for block in blocks(self.rows, ROWS):
            rows = np.arange(block.start, block.stop, dtype=np.int64)
            kinds, tags = self.kinds(rows), self.kinds(rows)
            if self.content == "web":
                draws = self._draws(rows)
                away = 1 + draws.integer("wrong tag", len(ALL_KINDS) - 1)
                wrong = (kinds + away) % len(ALL_KINDS)
                tags = np.where(draws.chance("tag noise", self.tag_noise), wrong, kinds)
            labels = np.where(kinds < len(TASK_KINDS), kinds, -1)
            yield {
                "source": text_column([f"shapes/{self.seed}/{self.first + row}" for row in rows.tolist()]),
                "label": kinds - len(TASK_KINDS) if self.content == "others" else labels,
                "tag": np.array(self.kind_names)[tags],
            }

    def read(self, rows: Sequence[int] | np.ndarray) -> Batch:
        ids = checked_rows(rows, self.rows)
        images = np.empty((len(ids), self.size, self.size, 3), dtype=np.uint8)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            images[start : start + CHUNK] = render(self.kinds(part), self._draws(part), self.size)
        return Batch(images)

    def read_sources(self, sources: Sequence[str]) -> Batch:
        return self.read([number_of(source) - self.first for source in sources])
