"""Random starts as a pure function of (seed, row, restart): batch split and device change nothing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from nndefense.attacks.space import l2_norms

_MASK = (1 << 64) - 1


def _draw(seed: int, row: int, restart: int, out: np.ndarray) -> float:
    # Philox is counter-based: the key names the stream, and the counter's high word keeps restarts apart.
    philox = np.random.Philox(key=np.array([seed & _MASK, row & _MASK], dtype=np.uint64), counter=[0, 0, 0, restart])
    generator = np.random.Generator(philox)
    share = generator.random()
    generator.standard_normal(out=out, dtype=np.float32)
    return share


def random_offsets(shape: tuple[int, ...], rows: Tensor, seed: int, restart: int) -> tuple[Tensor, Tensor]:
    """A direction uniform on the unit sphere and a length share u ~ U(0, 1) for each row.

    shape: (B, C, H, W); rows: (B,) integers. Returns CPU tensors (B, C, H, W) float32 of l2 norm 1, and (B,)
    float32.
    """
    normal = np.empty((shape[0], int(np.prod(shape[1:]))), dtype=np.float32)
    jobs = [(seed, row, restart, out) for row, out in zip(rows.tolist(), normal, strict=True)]
    # NumPy draws without the interpreter lock; below about a million numbers threads cost more than they
    # give.
    if normal.size > 1_000_000 and torch.get_num_threads() > 1:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            shares = list(pool.map(lambda job: _draw(*job), jobs))
    else:
        shares = [_draw(*job) for job in jobs]
    directions = torch.from_numpy(normal)
    directions /= l2_norms(directions)[:, None]
    return directions.view(shape), torch.tensor(shares, dtype=torch.float32)
