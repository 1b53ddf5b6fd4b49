"""torchvision's networks by name: ResNets, wide ResNets and ResNeXts, and `torchvision/NAME` for all others.

(He et al. 2016; Dubey et al. 2019, §5.1.)
"""

from difflib import get_close_matches
from pathlib import Path

from torch import hub, nn

from nndefense.core.errors import ConfigError, FileFault
from nndefense.core.memory import is_out_of_memory


def build(architecture: str, classes: int, weights: str | None = None) -> nn.Module:
    """A torchvision network with `classes` outputs.

    architecture: a name such as resnet50, also behind `torchvision/`.
    weights: name of torchvision's published weights, such as IMAGENET1K_V1 (downloaded by torchvision into
    its cache), or None for random ones.
    Raises ConfigError for unknown weights and for those of other classes, FileFault where they cannot be fetched or
    what lies in the cache is damaged.
    """
    # Costs seconds, so it is paid only by those who build such a network.
    from torchvision import models

    architecture = architecture.rpartition("/")[2]
    if architecture not in (names := models.list_models(models)):
        near = ", ".join(get_close_matches(architecture, names, n=8, cutoff=0.4))
        raise ConfigError(f"architecture {architecture!r}: torchvision has no such classifier; allowed: {near}")
    if classes == 0:
        raise ConfigError(f"classes: 0, but {architecture} has logits; allowed: as many as its weights are for")
    if weights is None:
        return models.get_model(architecture, num_classes=classes)
    published = models.get_model_weights(architecture)
    if weights not in published.__members__:
        raise ConfigError(
            f"weights {weights!r}: unknown for {architecture}; allowed: {', '.join(published.__members__)}"
        )
    count = len(published[weights].meta["categories"])
    if count != classes:
        raise ConfigError(f"weights {weights!r} of {architecture} have {count} classes, not {classes}")
    try:
        return models.get_model(architecture, weights=published[weights])
    except Exception as error:  # network, cache and reader raise many kinds
        if is_out_of_memory(error):
            raise
        cached = Path(hub.get_dir(), "checkpoints", Path(published[weights].url).name)
        raise FileFault(
            f"{cached}: weights {weights!r} of {architecture} {_state(cached)} ({error or type(error).__name__}); "
            f"allowed: a connection to {published[weights].url}, that file there, or another one by the key `weights`"
        ) from error


def _state(cached: Path) -> str:
    return "are damaged, delete them" if cached.exists() else "are not there and cannot be fetched"
