"""Codes of one bit per dimension: the signs of a PCA's codes (the "bit quantisation" of Dubey et al. 2019, §5.1).

The paper does not say how it quantises; signs make 256 dimensions 32 bytes an image.
"""

import numpy as np
from numpy.typing import NDArray

from nndefense.core.errors import InputError


def pack_signs(codes: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Codes (n, d) -> (n, ceil(d / 8)) uint8: bit 1 where a code is positive, most significant bit first.

    Bits beyond d are 0 and so add nothing to a Hamming distance, and so are those of NaN: leave such rows out before.
    Raises InputError for another shape.
    """
    if codes.ndim != 2:
        raise InputError(f"codes must be (n, d), got {codes.shape}")
    return np.packbits(codes > 0, axis=1)
