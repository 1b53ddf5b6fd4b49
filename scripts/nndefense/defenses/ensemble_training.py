"""Ensemble adversarial training (Tramèr et al. 2018): adversarial images of other, frozen models."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nndefense.core.options import Options, Share
from nndefense.defenses.mixed import crafting, mixed_loss, random_signs, sign_steps
from nndefense.models.objective import Batch, Objective, forward


@dataclass(frozen=True, kw_only=True)
class EnsembleTraining(Options):
    """Every batch: half the loss of the images, half that of one-step adversarial images from a model drawn at random.

    The draw is even among the sources and the network in training itself, in eval mode. Without sources it is one-step
    adversarial training.
    """

    noun: ClassVar[str] = "training"

    epsilon: Annotated[
        Share,
        Field(description="Largest change of a pixel (0 to 1) in adversarial training images. Tramèr et al., 16/255."),
    ] = 0.03
    attack: Annotated[
        Literal["fgsm", "random_fgsm"],
        Field(
            description="How they are made: `fgsm`, or `random_fgsm`, which spends half of `epsilon` in a random "
            "direction first."
        ),
    ] = "fgsm"

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises. sources: frozen models in eval mode, on the device that the model is trained on."""
        return partial(self._loss, tuple(sources))

    def _loss(self, sources: Sequence[nn.Module], model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        drawn = int(torch.randint(len(sources) + 1, (), generator=batch.generator))
        step, start = self.epsilon, None
        if self.attack == "random_fgsm" and self.epsilon > 0:
            step = self.epsilon / 2
            start = random_signs(batch.inputs, step, batch.generator)
        with crafting(model) as own:
            source = partial(forward, sources[drawn]) if drawn < len(sources) else own
            adversarial = sign_steps(source, batch.inputs, batch.targets, self.epsilon, step=step, start=start)
        loss, clean, _ = mixed_loss(model, batch.inputs, adversarial, batch.targets)
        return loss, clean
