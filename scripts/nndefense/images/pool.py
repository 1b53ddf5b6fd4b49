"""Reading images of a pool by their place in its order, from the sets that it draws from."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.errors import FileFault, InputError
from nndefense.core.files import read_json
from nndefense.core.progress import blocks
from nndefense.images.base import Batch, ImageSet
from nndefense.images.description import open_described
from nndefense.images.pool_file import Found, PoolFile

Block = tuple[slice, np.ndarray, dict[int, str]]


class PoolReader:
    """Images of a pool.

    pool: where each stands.
    sets: that it draws from, by name.
    """

    def __init__(self, pool: PoolFile, sets: Mapping[str, ImageSet]) -> None:
        self.pool, self.sets = pool, sets

    @classmethod
    def open(cls, pool: str | Path, descriptions: Sequence[str | Path]) -> "PoolReader":
        """Open a pool; takes no longer for more images.

        Args:
            pool: its file.
            descriptions: set.json of its sets, which name their manifests.

        Raises:
            FileFault: a file is damaged, or sets were listed anew after the pool was built.
        """
        opened, abouts = PoolFile(pool), {path: read_json(path) for path in descriptions}
        listed = {about["name"]: about["manifest_sha256"] for about in abouts.values()}
        for one in opened.sets:
            if listed.get(one["name"]) != one["sha256"]:
                raise FileFault(f"{pool}: was built of another listing of image set {one['name']}; delete it and rerun")
        return cls(opened, {about["name"]: open_described(path) for path, about in abouts.items()})

    def __len__(self) -> int:
        return len(self.pool)

    def rows_at(self, places: Sequence[int] | np.ndarray) -> Found:
        """Names of sets (n,) and rows in these (n,) of the images at `places` in the pool's order."""
        return self.pool.rows_at(places)

    def tags_at(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Tags (n,) of the images at `places` in the pool's order."""
        stored: dict[str, Any] = {name: one.listed for name, one in self.sets.items()}
        return self.pool.tags_at(places, stored)

    def read(self, places: Sequence[int] | np.ndarray) -> Batch:
        """Images at `places` in the pool's order, uint8 (n, H, W, 3). InputError if their sizes differ."""
        return self.read_found(self.rows_at(places))

    def read_found(self, found: Found) -> Batch:
        """Images of rows of the sets, uint8 (n, H, W, 3). InputError if their sizes differ."""
        images = None
        skipped: dict[int, str] = {}
        for name in dict.fromkeys(found.sets):
            chosen = np.flatnonzero(found.sets == name)
            batch = self.sets[name].read(found.rows[chosen])
            if images is None:
                images = np.zeros((len(found.rows), *batch.images.shape[1:]), np.uint8)
            if images.shape[1:] != batch.images.shape[1:]:
                raise InputError(
                    f"image set {name} has images of {batch.images.shape[1:]}, others of the pool {images.shape[1:]}; "
                    "give them the same `size`"
                )
            images[chosen] = batch.images
            skipped |= {int(chosen[position]): reason for position, reason in batch.skipped.items()}
        if images is None:
            side = next(iter(self.sets.values())).size
            images = np.zeros((0, side, side, 3), np.uint8)
        return Batch(images, skipped)


def pool_blocks(pool: str | Path, sets: Sequence[str | Path], shard: tuple[int, int], size: int) -> Iterator[Block]:
    """Images of a shard in blocks, uint8 (b, H, W, 3); the next block is read while one is computed.

    Args:
        pool: its file.
        sets: set.json of its sets, which name their manifests.
        shard: first place in the pool's order, and the one behind the last.
        size: images of a block.

    Yields:
        Positions in the shard, images, and position in the shard -> why it is skipped.

    Raises:
        InputError: the pool is too small.
        FileFault: as of `PoolReader.open`.
    """
    reader, (start, stop) = PoolReader.open(pool, sets), shard
    if stop > len(reader):
        raise InputError(
            f"{pool}: holds {len(reader):,} images, a database of {stop:,} was asked for; allowed in `sizes`, with "
            f"what `attacks.white_box.overlaps` needs behind the largest: at most {len(reader)}"
        )
    # At once: each row group of a table is read once a shard.
    found = reader.rows_at(np.arange(start, stop))

    def read(block: slice) -> Block:
        batch = reader.read_found(Found(found.sets[block], found.rows[block]))
        return block, batch.images, {block.start + place: reason for place, reason in batch.skipped.items()}

    parts = list(blocks(stop - start, size))
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(read, parts[0])
        for following in parts[1:]:
            ready, ahead = ahead, thread.submit(read, following)
            yield ready.result()
        yield ahead.result()
