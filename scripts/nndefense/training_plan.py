"""What networks are trained from, as names of files and modules.

Imported while Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nndefense import defenses, images
from nndefense.config import trained_from
from nndefense.models.architectures import architecture_entry


class TrainingPlan:
    """Names of everything that the `train` of a validated configuration's models asks for."""

    # Those of the rule `train_model`.
    methods = ("standard", *defenses.TRAINING)

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._models = config["models"]
        self._images = config["images"]

    def ancestors(self, models: Iterable[str]) -> list[str]:
        """These models and all that they are trained from, in the configuration's order."""
        pending, found = list(models), set()
        while pending:
            found.add(model := pending.pop())
            pending += trained_from(self._models[model])
        return [name for name in self._models if name in found]

    def trained(self, models: Iterable[str]) -> list[str]:
        """Those of `ancestors` that are trained in the workflow."""
        return [name for name in self.ancestors(models) if "train" in self._models[name]]

    def descriptions(self, model: str, key: str) -> list[str]:
        """Descriptions of the models that stand under a key (`initial`, `sources`) of a model's recipe."""
        names = self._models[model]["train"].get(key) or []
        return [f"<results>/models/{name}/model.json" for name in ([names] if isinstance(names, str) else names)]

    def weights(self, model: str) -> list[str]:
        """Weights of the models that a model is trained from."""
        return [f"<results>/models/{name}/weights.safetensors" for name in trained_from(self._models[model])]

    def modules(self, model: str) -> list[str]:
        """Registry entries of a model's training images, of its method, and of the networks that training opens."""
        recipe = self._models[model]["train"]
        method = [defenses.TRAINING[recipe["method"]]] if recipe["method"] in defenses.TRAINING else []
        opened = self.ancestors([model, *trained_from(self._models[model])])
        networks = sorted({architecture_entry(self._models[name]["architecture"]) for name in opened})
        return [images.KINDS[self._images[recipe["images"]]["kind"]], *method, *networks]
