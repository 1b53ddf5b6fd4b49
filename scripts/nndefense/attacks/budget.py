"""The feasible set {y : low <= y <= high, ||y - z|| <= R_i} with one radius per image, and ways into it.

Both exact maps rest on one fact: the norm of clip(z + s * direction) - z does not decrease in s, and its
square is quadratic in s between the points where another pixel reaches the box.
"""

import torch
from torch import Tensor

from nndefense.attacks.space import PixelSpace, l2_norms

# Rounding to float32 may lengthen a perturbation; the promise is Delta <= epsilon * (1 + 1e-5).
_TOLERANCE = 5e-6


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1) in the dtype of `like`."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def radii(images: Tensor, epsilon: float, space: PixelSpace) -> Tensor:
    """R_i = epsilon * ||z_i||, (B,) float64; 0 for an all-zero z, which is thereby skipped.

    With `space.budget_norm` the same for all images but those.
    """
    norms = space.norms(images)
    if space.budget_norm is not None:
        norms = torch.where(norms > 0, space.budget_norm, norms)
    return epsilon * norms


def common_norm(images: Tensor, space: PixelSpace) -> float:
    """The norm that gives all images (n, 3, H, W) one radius, epsilon being the mean of their normalised l2 distances.

    The way of Guo et al. 2018, who choose one step for the whole set. It is the harmonic mean of the norms: the mean of
    R / ||z_i|| is epsilon. The mean falls short where an attack does not spend its budget.
    """
    norms = space.norms(images)
    norms = norms[norms > 0]
    return float(len(norms) / (1 / norms).sum()) if len(norms) else 1.0


def project(z_adv: Tensor, z: Tensor, radius: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Cheap projection: scale the perturbation into the ball, then clip to the box.

    Clipping only shrinks each |delta_j|, because z is in the box, so the result is feasible up to rounding.
    z_adv, z: (B, C, H, W); radius: (B,); low, high: (1, C, 1, 1). Returns (B, C, H, W).
    """
    delta = z_adv - z
    norm = l2_norms(delta)
    limit = radius.to(norm.dtype)
    factor = torch.where(norm > limit, limit / norm, torch.ones_like(norm))
    return torch.addcmul(z, delta, per_image(factor, z)).clamp_(low, high)


def _longest_feasible_scale(direction: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """Largest s with ||min(s * direction, room)|| <= radius, per row; all float64, direction and room >= 0.

    Starts from the unclipped solution, moves pixels that reach the box to the clipped set and solves again.
    Every step is from below, so the sequence is monotone and ends when the clipped set stops growing.
    """
    target = radius.square()
    scale = torch.zeros_like(radius)
    while True:
        clipped = scale[:, None] * direction >= room
        spent = torch.where(clipped, room.square(), 0).sum(dim=1)
        slope = torch.where(clipped, 0, direction.square()).sum(dim=1)
        solution = ((target - spent).clamp_min_(0) / slope).sqrt()
        longer = (slope > 0) & (solution > scale * (1 + 1e-12))
        if not longer.any():
            return scale
        scale = torch.where(longer, solution, scale)


def scale_to_budget(z: Tensor, direction: Tensor, radius: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """clip(z + s * direction) with s such that the perturbation's norm equals the radius, per image.

    Shapes as in `project`. Returns the point in the dtype of z, and `saturated` (B,) bool: True where even s
    -> inf falls short (the point is then the limit), which includes a zero direction under a positive radius.
    NaN in the direction counts as 0.
    """
    origin = z.double().flatten(1)
    step = torch.nan_to_num(direction.double()).flatten(1)
    # The result depends only on the direction; the largest entry becomes 1 so that no square under- or
    # overflows.
    step = step / step.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    bottom, top = (bound.double().expand(z.shape).flatten(1) for bound in (low, high))
    end = torch.where(step > 0, top, torch.where(step < 0, bottom, origin))
    room = (end - origin).abs()
    limit = radius.double()
    saturated = room.square().sum(dim=1) < limit.square() * (1 - 1e-12)
    scale = _longest_feasible_scale(step.abs(), room, limit)
    point = (origin + scale[:, None] * step).clamp(bottom, top)
    point = torch.where(saturated[:, None], end, point)
    return point.view(z.shape).to(z.dtype), saturated


def project_exact(z_adv: Tensor, z: Tensor, radius: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Euclidean projection on the feasible set; shapes as in `project`.

    The optimality conditions give clip(z + (z_adv - z) / (1 + lambda)): the perturbation scaled to the
    budget, or the clipped point itself where that lies in the ball already.
    """
    clipped = z_adv.clamp(low, high)
    inside = l2_norms(clipped.double() - z.double()) <= radius.double()
    scaled, _ = scale_to_budget(z, z_adv.double() - z.double(), radius, low, high)
    return torch.where(per_image(inside, z).bool(), clipped, scaled)


def images_within_budget(images: Tensor, z_adv: Tensor, radius: Tensor, space: PixelSpace) -> Tensor:
    """float32 images in [0,1] of z_adv whose normalised l2 distance is <= epsilon * (1 + 1e-5), measured in
    float64.

    images: (B, C, H, W) float32; z_adv the same shape; radius (B,) from `radii`. Where float32 rounding would
    break the budget, pixels are rounded towards the clean image, which is itself a float32 value. radius 0
    returns images bit-exactly.
    """
    clean, scale = images.double(), space.scale(images.double())
    delta = (z_adv.double() - space.from_images(images).double()) * scale
    delta = (clean + delta).clamp_(0.0, 1.0) - clean
    factor = (radius / l2_norms(delta / scale)).clamp_max(1.0).nan_to_num(1.0)
    target = clean + delta * per_image(factor, delta)
    rounded = target.float()
    outward = (rounded.double() - clean).abs() > (target - clean).abs()
    inward = torch.where(outward, torch.nextafter(rounded, images), rounded)
    too_long = l2_norms((rounded.double() - clean) / scale) > radius * (1 + _TOLERANCE)
    return torch.where(per_image(too_long, rounded).bool(), inward, rounded)
