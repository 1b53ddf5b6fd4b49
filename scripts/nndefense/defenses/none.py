"""No defence: the trivial one, so that whatever takes a defence takes a bare network as well."""

from dataclasses import dataclass

from torch import Tensor

from nndefense.defenses.base import Context, Defense, Model


@dataclass(frozen=True, kw_only=True)
class NoDefense(Defense):
    """The network's own probabilities."""

    def predict(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return model(images).float().softmax(dim=1)

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return model(images)
