"""Ensemble adversarial training (Tramèr et al. 2018): adversarial images of other, frozen models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nndefense.attacks.linf import fgsm_linf, random_fgsm_linf
from nndefense.defenses.base import check_choice, check_number
from nndefense.defenses.mixed import crafting, mixed_loss
from nndefense.models.objective import Batch, Objective, forward

ATTACKS = ("fgsm", "random_fgsm")


@dataclass(frozen=True, kw_only=True)
class EnsembleTraining:
    """Every batch: half the loss of the images, half that of one-step adversarial images from a model drawn at random.

    The draw is even among the sources and the network in training itself, in eval mode. Without sources it is one-step
    adversarial training.
    epsilon: largest change of a pixel in [0,1]; Tramèr et al. use 16/255 on ImageNet.
    attack: `fgsm`, or `random_fgsm`, which first takes half of the budget in a random direction (R+FGSM).
    Raises ConfigError for options out of range.
    """

    epsilon: float = 0.03
    attack: str = "fgsm"

    def __post_init__(self):
        check_number("epsilon", self.epsilon, "a number from 0 to 1", lambda value: 0 <= value <= 1)
        check_choice("attack", self.attack, ATTACKS)

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises. sources: frozen models in eval mode, on the device that the model is trained on."""
        return partial(self._loss, tuple(sources))

    def _loss(self, sources: Sequence[nn.Module], model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        drawn = int(torch.randint(len(sources) + 1, (), generator=batch.generator))
        with crafting(model) as own:
            source = partial(forward, sources[drawn]) if drawn < len(sources) else own
            if self.attack == "fgsm":
                adversarial = fgsm_linf(source, batch.inputs, batch.targets, self.epsilon)
            else:
                adversarial = random_fgsm_linf(source, batch.inputs, batch.targets, self.epsilon, batch.generator)
        loss, clean, _ = mixed_loss(model, batch.inputs, adversarial, batch.targets)
        return loss, clean
