"""Adversarial logit pairing (Kannan et al. 2018): an image and its adversarial one shall get the same logits.

It is known to be broken: Engstrom et al. 2018 drive its accuracy to nearly 0 with more steps of the same attack.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nndefense.attacks.linf import ifgsm_linf, random_start
from nndefense.defenses.base import check_integer, check_number
from nndefense.defenses.mixed import crafting, mixed_loss
from nndefense.models.objective import Batch, Objective

STEP_SCALE = 2.5


@dataclass(frozen=True, kw_only=True)
class LogitPairing:
    """Every batch: half the loss of the images, half that of their PGD images, plus the pairing loss.

    PGD as of Madry et al. 2018: a random start in the l-infinity ball, `attack_steps` sign steps of length
    2.5 * epsilon / attack_steps, on the network in training, in eval mode. epsilon: largest change of a pixel in [0,1].
    pairing_weight: of the pairing loss; 0 is mixed adversarial training. Too large a one ends with the same logits for
    all images.
    Raises ConfigError for options out of range.
    """

    epsilon: float = 0.03
    attack_steps: int = 3
    pairing_weight: float = 0.05

    def __post_init__(self):
        check_number("epsilon", self.epsilon, "a number from 0 to 1", lambda value: 0 <= value <= 1)
        check_integer("attack_steps", self.attack_steps, 1)
        check_number("pairing_weight", self.pairing_weight, "a number >= 0", lambda value: value >= 0)

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises; it needs no sources."""
        return self._loss

    def _loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        start = random_start(batch.inputs, self.epsilon, batch.generator)
        with crafting(model) as own:
            adversarial = ifgsm_linf(
                own,
                batch.inputs,
                batch.targets,
                self.epsilon,
                self.attack_steps,
                step=STEP_SCALE * self.epsilon / self.attack_steps,
                start=start,
            )
        loss, clean, attacked = mixed_loss(model, batch.inputs, adversarial, batch.targets)
        return loss + self.pairing_weight * pairing_loss(clean, attacked), clean


def pairing_loss(clean: Tensor, attacked: Tensor) -> Tensor:
    """Mean over the batch of the squared l2 distance of the logits, (B, C) each.

    A mean over all numbers (`mse_loss`, and the code that Kannan et al. released, with weight 0.5) is C times smaller:
    its weight is C times that of this one.
    """
    return (clean - attacked).square().sum(dim=1).mean()
