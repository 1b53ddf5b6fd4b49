"""Random numbers of one image: a pure function of (seed, row, part), so batch split and device change nothing."""

import numpy as np

_MASK = (1 << 64) - 1


def stream(seed: int, row: int, part: int = 0) -> np.random.Generator:
    """The random numbers of an image.

    Args:
        seed: of the run, any integer, taken modulo 2^64.
        row: id of the image, likewise.
        part: keeps several streams of one image apart, such as the restarts of an attack; >= 0.
    """
    # Philox is counter-based: the key names the stream, without a warm-up, and the counter's high word the part.
    # Without a type a key would become floats where one of its numbers needs 64 bits.
    key = np.array([seed & _MASK, row & _MASK], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, part]))
