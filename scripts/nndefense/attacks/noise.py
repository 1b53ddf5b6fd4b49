"""Random starts as a pure function of (seed, row, restart): batch split and device change nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from nndefense.attacks.space import l2_norms
from nndefense.core.streams import stream


def random_offsets(shape: tuple[int, ...], rows: Tensor, seed: int, restart: int) -> tuple[Tensor, Tensor]:
    """A direction uniform on the unit sphere and a length share u ~ U(0, 1) for each row.

    Args:
        shape: (B, C, H, W).
        rows: (B,) integers.
        seed, restart: of the stream.

    Returns CPU tensors (B, C, H, W) float32 of l2 norm 1, and (B,) float32.
    """
    normal = np.empty((shape[0], int(np.prod(shape[1:]))), dtype=np.float32)

    def draw(row: int, out: np.ndarray) -> float:
        generator = stream(seed, row, restart)
        share = generator.random()
        generator.standard_normal(out=out, dtype=np.float32)
        return share

    shares = _each(draw, rows, normal)
    directions = torch.from_numpy(normal)
    directions /= l2_norms(directions)[:, None]
    return directions.view(shape), torch.tensor(shares, dtype=torch.float32)


def random_cubes(shape: tuple[int, ...], rows: Tensor, seed: int, restart: int) -> Tensor:
    """Numbers uniform in [-1, 1] for each row, (B, C, H, W) float32 on the CPU; arguments as of `random_offsets`."""
    uniform = np.empty((shape[0], int(np.prod(shape[1:]))), dtype=np.float32)
    _each(lambda row, out: stream(seed, row, restart).random(out=out, dtype=np.float32), rows, uniform)
    return torch.from_numpy(2 * uniform - 1).view(shape)


def _each(draw: Callable[[int, np.ndarray], object], rows: Tensor, out: np.ndarray) -> list:
    # NumPy draws without the interpreter lock; below about a million numbers threads cost more than they
    # give.
    if out.size > 1_000_000 and torch.get_num_threads() > 1:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(draw, rows.tolist(), out))
    return [draw(row, part) for row, part in zip(rows.tolist(), out, strict=True)]
