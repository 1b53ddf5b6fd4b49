"""Seeds that flow from the configuration: one integer seed and the artifact's name give its stream."""

import hashlib


def derive_seed(seed: int, *names: str | float) -> int:
    """A 63-bit seed that depends on `seed` and on every name, and on nothing else."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
