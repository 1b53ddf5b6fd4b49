"""Softmax vectors of images: the values of the key-value map (Dubey et al. 2019, §4)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nndefense.core.errors import InputError
from nndefense.models.batching import in_batches


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """uint8 images (n, H, W, 3) -> float32 (n, 3, H, W) in [0, 1], channels last in memory."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"images are {images.dtype} {images.shape}: uint8 (n, height, width, 3) is needed")
    # A copy, as torch warns of arrays that it could write to but should not (memory maps).
    return _in_unit(torch.from_numpy(images if images.flags.writeable else images.copy()))


def _in_unit(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def image_batch(images: NDArray | Tensor, rows: slice, device: str | torch.device = "cpu") -> Tensor:
    """Rows of uint8 (n, H, W, 3) or float (n, 3, H, W) images, on any device, as float32 (B, 3, H, W) on `device`."""
    if isinstance(images, Tensor) and images.dtype == torch.uint8:
        batch = _in_unit(images[rows].to(device))
    elif isinstance(images, Tensor):
        batch = images[rows].to(torch.float32)
    elif images.dtype == np.uint8:
        batch = to_tensor(np.ascontiguousarray(images[rows]))
    else:
        batch = torch.from_numpy(np.array(images[rows], dtype=np.float32))
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise InputError(f"images are {tuple(images.shape)}: (n, 3, height, width) is needed for floats")
    return batch.to(device)


def predict_softmax(
    model: nn.Module, images: NDArray | Tensor, batch: int = 256, device: str | torch.device = "cpu"
) -> NDArray[np.float32]:
    """Softmax h(x) of every image: float32 (n, C), rows sum to 1.

    model: logits from images in [0, 1], in eval mode.
    images: uint8 (n, H, W, 3) or float (n, 3, H, W) in [0, 1]. An image with NaN gives a row of NaN.
    batch: images a forward pass; halved when memory runs out.
    Raises InputError for other shapes or a model in training mode, NNDefenseError when
    one image does not fit in memory.
    """
    require_eval(model)
    model = model.to(device)

    def compute(rows: slice) -> NDArray[np.float32]:
        with torch.inference_mode():
            return torch.softmax(model(image_batch(images, rows, device)).float(), dim=1).cpu().numpy()

    parts = list(in_batches(compute, len(images), batch))
    if not parts:
        raise InputError("no images: at least one is needed")
    return np.concatenate(parts)


def require_eval(model: nn.Module) -> None:
    """Raises InputError for a model in training mode, whose outputs depend on the other images of a batch."""
    if model.training:
        raise InputError("the model is in training mode: call model.eval() first")
