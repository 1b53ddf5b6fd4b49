"""Feature vectors of several layers, and the logits, from one forward pass."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nndefense.core.errors import ConfigError, InputError
from nndefense.features.layers import Tap, find_tap, prefix_tokens, record
from nndefense.features.names import parse_layer
from nndefense.features.pooling import pooling_of
from nndefense.models.batching import in_batches
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.predict import image_batch, require_eval


class _Stop(Exception):
    """Leaves the forward pass once all layers have their values."""


class FeatureExtractor:
    """Values of layers as vectors: pooled maps and tokens.

    Of residual blocks those before the last ReLU, residual + shortcut (Dubey et al. 2019, §5.1 and Table 3); of other
    modules what they give. Differentiable; the caller decides about the grad mode.
    model: a network none of whose activations works in place.
    layers: names as of `nndefense.features.names`; which network they say is not looked at.
    pool: side of the average-pooled map by layer, where it is not Table 3's.
    stop_early: skip what follows the last needed module; the logits are None then.
    Raises ConfigError for layers the model lacks, InputError for in-place activations.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        pool: Mapping[str, int] | None = None,
        stop_early: bool = False,
    ) -> None:
        pool = dict(pool or {})
        if strangers := sorted(pool.keys() - set(layers)):
            raise ConfigError(f"pool: layer {strangers[0]!r} is not extracted; allowed: {', '.join(layers)}")
        if len(set(layers)) != len(layers):
            raise ConfigError(f"layers {', '.join(layers)}: each may be named once")
        self.model: Any = model
        self.layers = tuple(layers)
        self.stop_early = stop_early
        self.taps: dict[str, Tap] = {layer: find_tap(model, layer) for layer in layers}
        prefix = prefix_tokens(model)
        self._pooling = {layer: pooling_of(layer, parse_layer(layer), pool.get(layer), prefix) for layer in layers}
        if any(getattr(module, "inplace", False) is True for module in model.modules()):
            raise InputError(
                "the model has in-place ReLUs, which overwrite pre-ReLU features: see keep_pre_relu_values"
            )

    def __call__(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Images (B, 3, H, W) in [0, 1] -> ({layer: float32 (B, D)}, logits (B, C) or None)."""
        maps, logits = self.maps(images)
        return {layer: self._pooling[layer](maps[layer]).float() for layer in self.layers}, logits

    def maps(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """As a call, but the values as the modules give them, neither pooled nor flattened."""
        maps: dict[str, Tensor] = {}
        waiting = set(self.layers)
        handles = []
        try:
            for layer, tap in self.taps.items():
                handles.append(record(tap, partial(maps.__setitem__, layer)))
            if self.stop_early and self.layers:
                handles += [tap.end.register_forward_hook(_stopping(waiting, name)) for name, tap in self.taps.items()]
            try:
                logits = self.model(images)
            except _Stop:
                logits = None
        finally:
            for handle in handles:
                handle.remove()
        if absent := [layer for layer in self.layers if layer not in maps]:
            raise ConfigError(f"layer {absent[0]!r}: the network does not call it; allowed: a module that it calls")
        return maps, logits

    def dimensions(self, height: int, width: int) -> dict[str, int]:
        """Number of features by layer for images of that size; costs one forward pass of one image."""
        device = next(self.model.parameters()).device
        with torch.no_grad():
            features, _ = self(torch.zeros(1, 3, height, width, device=device))
        return {layer: values.shape[1] for layer, values in features.items()}


def _stopping(waiting: set[str], layer: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook that leaves the pass with the last of the layers that wait for their values."""

    def stop(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        waiting.discard(layer)
        if not waiting:
            raise _Stop

    return stop


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
    computing: how the network computes.
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
