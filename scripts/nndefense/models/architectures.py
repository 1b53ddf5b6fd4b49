"""Which module builds an architecture. Imports no torch, so a workflow may ask cheaply."""

import re

from nndefense.core.errors import ConfigError
from nndefense.models import ARCHITECTURES


def architecture_entry(architecture: str) -> str:
    """Registry entry ("module:function") of an architecture; trailing digits match `{depth}`, what follows / `{name}`.

    Raises ConfigError for an unknown name.
    """
    forms = (architecture, re.sub(r"\d+$", "{depth}", architecture), re.sub(r"/.+$", "/{name}", architecture))
    entry = next((ARCHITECTURES[form] for form in forms if form in ARCHITECTURES), None)
    if entry is None:
        raise ConfigError(f"architecture {architecture!r}: unknown; allowed: {', '.join(ARCHITECTURES)}")
    return entry


def library_of(architecture: str) -> str:
    """The library that publishes weights of an architecture by name: torchvision, timm or open_clip."""
    library, _, name = architecture.partition("/")
    return library if name else "torchvision"
