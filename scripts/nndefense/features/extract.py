"""Feature vectors of several layers, and the logits, from one forward pass."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nndefense.core.errors import ConfigError, InputError
from nndefense.features.layers import available_layers, find_block
from nndefense.features.names import block_name, is_rmac, parse_layer
from nndefense.features.pooling import pool_features, pool_side
from nndefense.features.rmac import rmac
from nndefense.models.batching import in_batches
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.predict import image_batch, require_eval
from nndefense.models.standardize import Standardized


class _Stop(Exception):
    """Leaves the forward pass after the last block that is needed."""


class FeatureExtractor:
    """Pooled activations of residual blocks: the residual + shortcut sum before the block's last ReLU.

    (Dubey et al. 2019, §5.1 and Table 3.) Differentiable; the caller decides about the grad mode.
    model: a ResNet whose blocks end in `self.relu`, none of which works in place.
    layers: names such as conv_5_1, or conv_5_1-RMAC for unit vectors pooled by R-MAC.
    pool: side of the average-pooled map by layer, where it is not Table 3's.
    stop_early: skip what follows the last needed block; the logits are None then.
    Raises ConfigError for layers the model lacks, InputError for in-place ReLUs.
    """

    def __init__(
        self,
        model: Standardized,
        layers: Sequence[str],
        pool: Mapping[str, int] | None = None,
        stop_early: bool = False,
    ) -> None:
        pool = dict(pool or {})
        if strangers := sorted(pool.keys() - set(layers)):
            raise ConfigError(f"pool: layer {strangers[0]!r} is not extracted; allowed: {', '.join(layers)}")
        if len(set(layers)) != len(layers):
            raise ConfigError(f"layers {', '.join(layers)}: each may be named once")
        self.model = model
        self.layers = tuple(layers)
        self.stop_early = stop_early
        self._blocks = {layer: find_block(model, layer) for layer in layers}
        self._pooling = {layer: _pooling(layer, pool.get(layer)) for layer in layers}
        order = available_layers(model)
        self._last = max(layers, key=lambda layer: order.index(block_name(layer))) if layers else None
        if any(isinstance(module, nn.ReLU) and module.inplace for module in model.modules()):
            raise InputError(
                "the model has in-place ReLUs, which overwrite pre-ReLU features: see keep_pre_relu_values"
            )

    def __call__(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Images (B, 3, H, W) in [0, 1] -> ({layer: float32 (B, D)}, logits (B, C) or None)."""
        maps, logits = self.maps(images)
        features = {layer: self._pooling[layer](_wide(maps[layer])).float() for layer in self.layers}
        return features, logits

    def maps(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """As a call, but the whole maps (B, channels, height, width), neither pooled nor flattened."""
        maps: dict[str, Tensor] = {}
        handles = []
        try:
            for layer, block in self._blocks.items():
                handles.append(block.relu.register_forward_pre_hook(_recorder(maps, layer)))
            if self.stop_early and self._last is not None:
                handles.append(self._blocks[self._last].register_forward_hook(_stop))
            try:
                logits = self.model(images)
            except _Stop:
                logits = None
        finally:
            for handle in handles:
                handle.remove()
        return maps, logits

    @property
    def ends(self) -> dict[str, nn.Module]:
        """Of each layer the module whose last call takes what is recorded."""
        return {layer: block.relu for layer, block in self._blocks.items()}

    def dimensions(self, height: int, width: int) -> dict[str, int]:
        """Number of features by layer for images of that size; costs one forward pass of one image."""
        device = next(self.model.parameters()).device
        with torch.no_grad():
            features, _ = self(torch.zeros(1, 3, height, width, device=device))
        return {layer: values.shape[1] for layer, values in features.items()}


def _pooling(layer: str, side: int | None) -> Callable[[Tensor], Tensor]:
    if not is_rmac(layer):
        return partial(pool_features, side=pool_side(parse_layer(layer)[0], side))
    if side is not None:
        raise ConfigError(f"pool: layer {layer!r} is pooled by R-MAC, which has no side to choose")
    return rmac


def _wide(values: Tensor) -> Tensor:
    # What is summed over a map is more than bf16 can tell apart.
    return values.float() if values.dtype == torch.bfloat16 else values


def _recorder(maps: dict[str, Tensor], layer: str):
    # A block calls its one ReLU module several times; the last call's input is the residual + shortcut sum.
    def record(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        maps[layer] = arguments[0]

    return record


def _stop(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
    raise _Stop


def extract_features(
    extractor: FeatureExtractor,
    images: NDArray | Tensor,
    batch: int = 64,
    device: str | torch.device = "cpu",
    dtype: type[np.floating] = np.float32,
    computing: Computing = SINGLE,
) -> tuple[dict[str, NDArray], NDArray[np.float32] | None]:
    """Features of all images and their softmax, one forward pass an image, without gradients.

    images: uint8 (n, H, W, 3) or float (n, 3, H, W) in [0, 1]. dtype: of the features that are returned.
    computing: how the network computes on a GPU.
    Returns ({layer: (n, D)}, softmax float32 (n, C), or None with stop_early). Values of damaged images may
    be NaN: see `finite_rows`.
    Raises InputError for other shapes and for a model in training mode, NNDefenseError when one image does
    not fit in memory.
    """
    require_eval(extractor.model)
    extractor.model.to(device)
    features: dict[str, NDArray] = {}
    softmax: list[NDArray] = []

    def compute(rows: slice) -> tuple[slice, dict[str, NDArray], NDArray | None]:
        with torch.inference_mode(), computing.lowered(device):
            values, logits = extractor(image_batch(images, rows, device))
            probabilities = None if logits is None else torch.softmax(logits.float(), 1).cpu().numpy()
            return rows, {layer: value.cpu().numpy() for layer, value in values.items()}, probabilities

    for rows, values, probabilities in in_batches(compute, len(images), batch):
        for layer, value in values.items():
            if layer not in features:
                features[layer] = np.empty((len(images), value.shape[1]), dtype)
            features[layer][rows] = value
        if probabilities is not None:
            softmax.append(probabilities)
    if not len(images):
        raise InputError("no images: at least one is needed")
    return features, np.concatenate(softmax) if softmax else None


def finite_rows(*arrays: NDArray) -> NDArray[np.bool_]:
    """(n,) mask of the rows that are finite in all arrays (n, ...): the images that may enter a database."""
    return np.logical_and.reduce([np.isfinite(array).reshape(len(array), -1).all(1) for array in arrays])


def half_features(features: NDArray[np.floating]) -> NDArray[np.float16]:
    """Features as they are stored: float16, what is beyond its range at its largest number."""
    return np.clip(features, -65504, 65504).astype(np.float16)
