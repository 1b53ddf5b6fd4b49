"""Seams through the overlap of two patches (Efros & Freeman 2001): paths of least squared difference."""

import torch
from torch import Tensor


def seams(errors: Tensor) -> Tensor:
    """Cheapest path from the first to the last row of each overlap, by dynamic programming.

    Args:
        errors: (M, L, W) integers or floats >= 0, the difference of the two patches at each pixel of M overlaps.

    Returns:
        (M, L) int64: the path's column in each row, in neighbouring rows at most one apart; the first of equals.
    """
    length, width = errors.shape[1:]
    costs = [errors[:, 0]]
    for row in range(1, length):
        costs.append(errors[:, row] + _reachable(costs[-1]).amin(dim=1))
    path = [costs[-1].argmin(dim=1)]
    for row in range(length - 2, -1, -1):
        # Of the columns at -1, 0, +1 from the one below.
        step = _reachable(costs[row]).take_along_dim(path[-1][:, None, None], dim=2)[:, :, 0].argmin(dim=1)
        path.append((path[-1] + step - 1).clamp(0, width - 1))
    return torch.stack(path[::-1], dim=1)


def _reachable(costs: Tensor) -> Tensor:
    """Costs (M, 3, W) of a row's columns at -1, 0 and +1 from each column; as dear as possible beyond the edges."""
    dear = torch.finfo(costs.dtype).max if costs.is_floating_point() else torch.iinfo(costs.dtype).max
    edge = costs.new_full((len(costs), 1), dear)
    return torch.stack([torch.cat([edge, costs[:, :-1]], dim=1), costs, torch.cat([costs[:, 1:], edge], dim=1)], dim=1)


def joined(old: Tensor, new: Tensor, overlap: int, has_left: Tensor, has_above: Tensor) -> Tensor:
    """Patches `new` over what lies there, `old`: new right of the seam on the left and below the seam above.

    A seam's own pixels are new.

    Args:
        old, new: (M, S, S, 3) uint8.
        overlap: W < S, columns and rows shared with the neighbours.
        has_left, has_above: (M,) bool, whether there is a neighbour.

    Returns:
        (M, S, S, 3) uint8.
    """
    side, count = new.shape[1], len(new)
    errors = (old.int() - new.int()).square().sum(dim=3)
    left, above = errors[:, :, :overlap], errors[:, :overlap].transpose(1, 2)
    cuts = seams(torch.cat([left, above]))
    places = torch.arange(side, device=new.device)
    right_of = places >= torch.where(has_left[:, None], cuts[:count], 0)[:, :, None]
    below = places[:, None] >= torch.where(has_above[:, None], cuts[count:], 0)[:, None, :]
    return torch.where((right_of & below)[..., None], new, old)
