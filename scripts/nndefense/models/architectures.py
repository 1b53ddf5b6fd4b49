"""Which module builds an architecture. Imports no torch, so a workflow may ask cheaply."""

import re

from nndefense.core.errors import ConfigError
from nndefense.models import ARCHITECTURES


def architecture_entry(architecture: str) -> str:
    """Registry entry ("module:function") of an architecture; trailing digits match `{depth}`.

    Raises ConfigError for an unknown name.
    """
    entry = ARCHITECTURES.get(architecture) or ARCHITECTURES.get(re.sub(r"\d+$", "{depth}", architecture))
    if entry is None:
        raise ConfigError(f"architecture {architecture!r}: unknown; allowed: {', '.join(ARCHITECTURES)}")
    return entry
