"""Adversarial logit pairing (Kannan et al. 2018): an image and its adversarial one shall get the same logits.

It is known to be broken: Engstrom et al. 2018 drive its accuracy to nearly 0 with more steps of the same attack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from nndefense.core.options import Count, NotNegative, Options, Share
from nndefense.defenses.mixed import mixed_loss, pgd_images
from nndefense.models.objective import Batch, Objective


@dataclass(frozen=True, kw_only=True)
class LogitPairing(Options):
    """Every batch: half the loss of the images, half that of their PGD images, plus the pairing loss.

    PGD as of Madry et al. 2018: a random start in the l-infinity ball, `attack_steps` sign steps of length
    2.5 * epsilon / attack_steps, on the network in training, in eval mode. Too large a pairing weight ends with the
    same logits for all images.
    """

    noun: ClassVar[str] = "training"

    epsilon: Annotated[
        Share, Field(description="Largest change of a pixel (0 to 1) in adversarial training images.")
    ] = 0.03
    attack_steps: Annotated[Count, Field(description="Steps of PGD.")] = 3
    pairing_weight: Annotated[
        NotNegative,
        Field(
            description="Weight of the mean squared l2 distance between the logits of an image and of its adversarial "
            "one; 0 is adversarial training. In the code of Kannan et al. 0.5 divided by the number of classes."
        ),
    ] = 0.05

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises; it needs no sources."""
        return self._loss

    def _loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        adversarial = pgd_images(model, batch, self.epsilon, self.attack_steps)
        loss, clean, attacked = mixed_loss(model, batch.inputs, adversarial, batch.targets)
        return loss + self.pairing_weight * pairing_loss(clean, attacked), clean


def pairing_loss(clean: Tensor, attacked: Tensor) -> Tensor:
    """Mean over the batch of the squared l2 distance of the logits, (B, C) each.

    A mean over all numbers (`mse_loss`, and the code that Kannan et al. released, with weight 0.5) is C times smaller:
    its weight is C times that of this one.
    """
    return (clean - attacked).square().sum(dim=1).mean()
