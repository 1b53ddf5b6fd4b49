"""Average pooling of feature maps before PCA (Dubey et al. 2019, Table 3)."""

from torch import Tensor
from torch.nn import functional

from nndefense.core.errors import ConfigError

# Side of the pooled map by stage. Table 3 gives 7, 7, 4, 1 for maps of 56, 28, 14 and 7 pixels.
TABLE_3_SIDES = {2: 7, 3: 7, 4: 4, 5: 1}


def pool_side(stage: int, override: int | None = None) -> int:
    """Side of the pooled map of a stage: `override` if given, else Table 3. Raises ConfigError below 1."""
    side = TABLE_3_SIDES.get(stage, 1) if override is None else override
    if side < 1:
        raise ConfigError(f"pool {side}: the side of the pooled map must be at least 1")
    return side


def pool_features(maps: Tensor, side: int) -> Tensor:
    """Maps (B, C, H, W) -> (B, C * min(side, H) * min(side, W)), flattened in the order C, H, W.

    The 14 -> 4 of Table 3 is no integer ratio and the paper gives no window: adaptive windows are used.
    """
    height, width = maps.shape[-2:]
    return functional.adaptive_avg_pool2d(maps, (min(side, height), min(side, width))).flatten(1)
