"""What the name of a query set says, and how far its images are from clean ones."""

from collections.abc import Mapping

import numpy as np

from nndefense.errors import InputError


def query_axes(name: str) -> dict[str, object]:
    """attack, setting, space, epsilon of a query set: `clean`, or `space/setting/attack/eps-EPSILON`."""
    if name == "clean":
        return {"attack": "none", "setting": "clean", "space": "none", "epsilon": 0.0}
    try:
        space, setting, attack, budget = name.split("/")
        return {
            "attack": attack,
            "setting": setting,
            "space": space,
            "epsilon": float(budget.removeprefix("eps-")),
        }
    except ValueError:
        raise InputError(f"query set {name!r} is not named `clean` or `space/setting/attack/eps-EPSILON`") from None


def delta_of(queries: Mapping[str, np.ndarray], space: object) -> np.ndarray:
    """Measured normalised l2 distance (n,) of a query set's images in its space; 0 where they are clean."""
    return np.zeros(len(queries["labels"])) if space == "none" else queries[f"delta_{space}"]
