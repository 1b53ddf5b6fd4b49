"""PGD-PR, PGD against the predictions of the retrieved neighbours too (Dubey et al. 2019, §6.1)."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nndefense.attacks.base import SHARED, cross_entropy, gradient_of
from nndefense.attacks.pgd import PGD
from nndefense.attacks.problem import Problem
from nndefense.core.errors import InputError
from nndefense.core.options import NotNegative


@dataclass(frozen=True, kw_only=True)
class PGDPR(PGD):
    """PGD that also attacks the neighbours' predictions (Dubey et al. §6.1).

    It ascends CE(h(x), y) plus gamma times a term of the K neighbours of the clean image, by `form`:
      "soft": sum_k CE(h(x), p_k), the paper's words, "loss between the neighbours and the model prediction";
      "hard": sum_k CE(h(x), argmax p_k);
      "literal": the paper's formula, sum_k of the gradient of CE(h(x_k), y) by x_k, which does not depend on x.
    gamma: 0.05 in the paper; 0 is PGD, bit for bit.

    Context, of the clean images' neighbours in the attacker's database, fixed beforehand: "neighbor_softmax"
    (B, K, C) float, the rows p_k, 0 where there is no neighbour; for "literal" instead "neighbor_images"
    (B, K, 3, H, W) float32 in [0, 1], NaN where there is none, which may stay on the CPU.
    """

    form: Annotated[
        Literal["soft", "hard", "literal"],
        Field(
            description="The neighbours' term. `soft`: cross-entropy to their softmax rows; `hard`: to their classes; "
            "`literal`: the paper's formula, a gradient at the neighbours that stays constant."
        ),
    ] = "soft"
    gamma: Annotated[NotNegative, Field(description="Weight of the neighbours' term; 0 is PGD.")] = 0.05

    def prepare(self, problem: Problem) -> Problem:
        if self.gamma == 0:
            return problem
        prepared = self._gradients(problem) if self.form == "literal" else self._votes(problem)
        return replace(problem, context={**problem.context, "neighbor_term": prepared})

    def _literal(self, problem: Problem) -> Tensor:
        """Sum over k of the gradient of CE(h(x_k), y) by the neighbour x_k, (B, 3, H, W)."""
        neighbors = self.required(problem, "neighbor_images")
        count, *image = problem.images.shape
        if neighbors.ndim != 5 or neighbors.shape[0] != count or list(neighbors.shape[2:]) != image:
            raise InputError(
                f"neighbor_images is {tuple(neighbors.shape)}; needed: ({count}, K, {', '.join(map(str, image))})"
            )
        total = torch.zeros_like(problem.images)
        for k in range(neighbors.shape[1]):
            # In the memory format of the images. Where there is no neighbour, NaN has no gradient.
            images = torch.empty_like(problem.images).copy_(neighbors[:, k])
            total += gradient_of(
                lambda points: cross_entropy(problem.model(points), problem.labels), images, problem.computing
            )
        return total

    def _gradients(self, problem: Problem) -> Tensor:
        """The same, taken once for all budgets of the images."""
        shared = problem.context.get(SHARED, {})
        if "neighbor_gradients" not in shared:
            shared["neighbor_gradients"] = self._literal(problem)
        return shared["neighbor_gradients"]

    def _votes(self, problem: Problem) -> Tensor:
        """(B, C): cross-entropy is linear in its target, so the K targets act as their sum."""
        rows = self.required(problem, "neighbor_softmax")
        if rows.ndim != 3 or len(rows) != len(problem.images):
            raise InputError(f"neighbor_softmax is {tuple(rows.shape)}; needed: ({len(problem.images)}, K, C)")
        rows = rows.to(problem.images.device, torch.float32)
        if self.form == "hard":
            # A place without a neighbour has no class, not the first one.
            present = rows.sum(dim=2, keepdim=True) > 0
            rows = nn.functional.one_hot(rows.argmax(dim=2), rows.shape[2]).float() * present
        return rows.sum(dim=1)

    def objective(self, problem: Problem, images: Tensor) -> Tensor:
        logits = problem.model(images)
        own = cross_entropy(logits, problem.labels)
        if self.gamma == 0:
            return own
        term = problem.context["neighbor_term"]
        if self.form == "literal":
            return own + self.gamma * (term * images).sum(dim=(1, 2, 3))
        if logits.shape != term.shape:
            raise InputError(f"neighbor_softmax has {term.shape[1]} classes, the model {logits.shape[1]}")
        return own - self.gamma * (term * nn.functional.log_softmax(logits.float(), dim=1)).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class PGDPRHard(PGDPR):
    """PGD-PR with the neighbours' classes, so that it stands beside the soft form."""

    form: Literal["soft", "hard", "literal"] = field(default="hard", init=False)


@dataclass(frozen=True, kw_only=True)
class PGDPRLiteral(PGDPR):
    """PGD-PR by the paper's formula, so that it stands beside the soft form."""

    form: Literal["soft", "hard", "literal"] = field(default="literal", init=False)
