"""Image quilting (Guo et al. 2018, §3.4, as used by Dubey et al. 2019, Table 2): the image rebuilt from clean patches.

Each patch of a grid is replaced by one of the nearest in a database of patches of clean images, cut along the seams of
least difference to the patches left of it and above it (Efros & Freeman 2001). The code of Guo et al. finds seams by a
graph cut and leaves up to three pixels at the right and lower border black; here the grid covers the whole image.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Count
from nndefense.core.streams import stream
from nndefense.defenses.base import Context, Purifier, like_format
from nndefense.defenses.patches import PATCH_SIZE, build_patch_index, grid_patches, nearest_patches, padding
from nndefense.defenses.seams import joined


@dataclass(frozen=True, kw_only=True)
class ImageQuilting(Purifier):
    """Rebuilds the image from patches of other images.

    Context: "patches", (N, patch_size^2 * 3) uint8 as `sample_patches` gives them, may be a memory map; "patch_index",
    their index, is made where it is missing.
    """

    # Of the patches that the workflow samples; not an option of a defence.
    patch_size: int = field(default=PATCH_SIZE, init=False)
    overlap: Annotated[
        Count, Field(description="Rows and columns shared with the next patch, at most half of a patch's 5.")
    ] = 2
    neighbors: Annotated[Count, Field(description="Nearest patches of which one is drawn, all alike.")] = 1
    factory: Annotated[
        str,
        Field(
            description="FAISS factory string of the index of patches; the code of Guo et al. has PCA64,IVF200,PQ16 "
            "with nprobe 5."
        ),
    ] = "Flat"
    nprobe: Annotated[Count | None, Field(description="Cells visited, IVF indexes only.")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.overlap > self.patch_size:
            raise ConfigError(f"defense option overlap is {self.overlap!r}; allowed: at most half of patch_size")

    @property
    def random(self) -> bool:
        return self.neighbors > 1

    def prepare(self, context: Context) -> Context:
        self.required(context, "patches")
        if "patch_index" in context:
            return context
        return {**context, "patch_index": build_patch_index(context["patches"], self.factory)}

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        found = quilt(
            images,
            context["patches"],
            context["patch_index"],
            rows=rows,
            seed=seed,
            patch_size=self.patch_size,
            overlap=self.overlap,
            neighbors=self.neighbors,
            nprobe=self.nprobe,
        )
        return like_format(found, images)


def quilt(
    images: Tensor,
    patches: NDArray[np.uint8],
    index: faiss.Index,
    *,
    rows: Tensor,
    seed: int,
    patch_size: int = PATCH_SIZE,
    overlap: int = 2,
    neighbors: int = 1,
    nprobe: int | None = None,
) -> Tensor:
    """Images (B, 3, H, W) float32 in [0, 1] quilted from patches: the same shape, values k / 255, on their device.

    Args:
        images: any size.
        patches: (N, patch_size^2 * 3) uint8.
        index: of them, as `build_patch_index` makes it.
        rows: (B,) integers; which of several neighbours is taken depends on (seed, row) alone.
        seed: see `rows`.
        patch_size, overlap, neighbors, nprobe: as the options of `ImageQuilting`.

    Raises:
        InputError: patches, index and images do not fit each other.
    """
    if patches.ndim != 2 or patches.dtype != np.uint8 or patches.shape != (index.ntotal, 3 * patch_size**2):
        raise InputError(
            f"patches are {patches.dtype} {patches.shape}: uint8 ({index.ntotal}, {3 * patch_size**2}) is needed"
        )
    height, width = images.shape[-2:]
    stride = patch_size - overlap
    borders = (0, padding(width, patch_size, stride), 0, padding(height, patch_size, stride))
    shown = pad(images, borders, mode="replicate").permute(0, 2, 3, 1).cpu().numpy()
    queries = grid_patches(shown, patch_size, stride)
    ids = nearest_patches(index, queries.reshape(-1, queries.shape[-1]), neighbors, nprobe)
    ids = _drawn(ids.reshape(*queries.shape[:2], neighbors), rows, seed)
    chosen = torch.from_numpy(patches[ids]).to(images.device)
    quilted = assemble(chosen, shown.shape[1:3], patch_size, stride)
    return quilted[:, :height, :width].permute(0, 3, 1, 2).float().div_(255)


def _drawn(ids: NDArray[np.int64], rows: Tensor, seed: int) -> NDArray[np.int64]:
    """One of the k ids at each place, (B, P, k) -> (B, P)."""
    _, places, neighbors = ids.shape
    if neighbors == 1:
        return ids[:, :, 0]
    drawn = [stream(seed, row).integers(neighbors, size=places) for row in rows.tolist()]
    return np.take_along_axis(ids, np.array(drawn).reshape(-1, places, 1), axis=2)[:, :, 0]


def assemble(chosen: Tensor, size: tuple[int, int], patch_size: int = PATCH_SIZE, stride: int = 3) -> Tensor:
    """Patches (B, rows * columns, patch_size^2 * 3) uint8 of a grid, joined to images (B, H, W, 3) uint8.

    As if patch were laid after patch, row by row: patches that do not touch each other, and whose neighbours to the
    left and above are there, are laid at once.

    Args:
        chosen: the patch of each place.
        size: height and width of the images, which the grid covers.
        patch_size: side of a patch.
        stride: from a patch to the next, at least half of a patch.
    """
    height, width = size
    columns = (width - patch_size) // stride + 1
    canvas = chosen.new_zeros(len(chosen), height * width, 3)
    within = torch.arange(patch_size)[:, None] * width + torch.arange(patch_size)
    square = (patch_size, patch_size)
    for down, across in _waves((height - patch_size) // stride + 1, columns):
        corner = (down * width + across) * stride
        pixels = (corner[:, None] + within.flatten()).to(chosen.device)
        new = chosen[:, (down * columns + across).to(chosen.device)].reshape(-1, *square, 3)
        old = canvas[:, pixels].reshape(-1, *square, 3)
        has_left, has_above = ((place > 0).to(chosen.device).repeat(len(chosen)) for place in (across, down))
        canvas[:, pixels] = joined(old, new, patch_size - stride, has_left, has_above).view(
            len(chosen), *pixels.shape, 3
        )
    return canvas.view(len(chosen), height, width, 3)


def _waves(rows: int, columns: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Grid places (row, column) that can be laid at once, in order.

    A patch overlaps those left of it, above it and to both sides above it, and waits for them; all of these have a
    smaller 2 * row + column. Patches of one wave are two columns and more apart, which overlaps of at most half a
    patch do not bridge.
    """
    for wave in range(2 * (rows - 1) + columns):
        down = torch.arange(max(0, (wave - columns + 2) // 2), min(rows - 1, wave // 2) + 1)
        yield down, wave - 2 * down
