"""A model on disk: plain tensors, and beside them what they are, where they come from, and their checksum."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from nndefense.core.errors import FileFault
from nndefense.core.files import file_sha256, read_json, write_bytes, write_json
from nndefense.core.seals import fault
from nndefense.models.build import build_model
from nndefense.models.standardize import Standardized
from nndefense.models.weights import apply_weights, load_weights, network_state


def save_checkpoint(
    weights: str | Path, description: str | Path, model: Standardized, about: Mapping[str, Any]
) -> None:
    """Write the tensors to `weights` (safetensors) and the facts to `description` (JSON).

    about: name, architecture, classes, mean, std, provenance; `options` of an architecture that has some, `resize` of
    a network that takes images of another size.
    """
    write_bytes(weights, save(network_state(model)))
    write_json(description, {**about, "weights": Path(weights).name, "weights_sha256": file_sha256(weights)})


def open_checkpoint(description: str | Path) -> tuple[Standardized, dict[str, Any]]:
    """The model that a description names, in eval mode on the CPU, and the description.

    Raises FileFault if the weights are damaged or do not fit the architecture.
    """
    about = read_json(description)
    path = Path(description).with_name(about["weights"])
    if not path.is_file():
        raise FileFault(f"{path}: no such file, though {description} names it")
    if file_sha256(path) != about["weights_sha256"]:
        raise fault(path, "has another checksum than model.json records")
    model = build_model(
        about["architecture"],
        about["classes"],
        about["mean"],
        about["std"],
        options=about.get("options"),
        resize=about.get("resize"),
    )
    return apply_weights(model, load_weights(path), str(path)), about
