"""What is derived from a configuration, once: it is frozen, and asked for the same things thousands of times."""

import functools
from collections.abc import Callable
from typing import TypeVar

from nndefense.config import Config

Found = TypeVar("Found")


def once(derive: Callable[[Config], Found]) -> Callable[[Config], Found]:
    """A function of a configuration that remembers its last answer; callers do not change what they are given."""
    last: list[tuple[Config, Found]] = []

    @functools.wraps(derive)
    def remembered(config: Config) -> Found:
        if not last or last[0][0] is not config:
            last[:] = [(config, derive(config))]
        return last[0][1]

    return remembered
