"""What stands in configuration files as plain values in one form, and what no key may hold."""

from collections.abc import Iterator, Mapping
from typing import Any

from nndefense.config.messages import SHORT
from nndefense.core.errors import ConfigError
from nndefense.core.text import visible

# What files, NumPy and JSON hold exactly.
LARGEST = 1 << 53
SMALLEST = 1e-30
LONGEST = 1000
# Keys that may hold no text.
EMPTY = ("base_run", "run", "data")


def normal(value: Any) -> Any:
    """The same with each whole number as an integer: `10.0`, and `1.0e+1`, which YAML makes a float, is 10.

    Values that are equal are then one value, however they were written. Mappings and lists are copies.
    """
    if isinstance(value, Mapping):
        return {key: normal(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [normal(one) for one in value]
    # A float beyond is left to what checks its key; so is one that is not finite.
    return int(value) if isinstance(value, float) and abs(value) < LARGEST and value.is_integer() else value


def check_keys(value: Any, place: tuple[str, ...] = (), around: frozenset[int] = frozenset()) -> None:
    """Raises ConfigError for a key that YAML took for something else than text, as it does 123, on and no.

    Also for an anchor that holds itself. around: what the value is within, by id.
    """
    if id(value) in around:
        raise ConfigError(f"{'.'.join(place)}: holds itself; allowed: values that end")
    for key, one in _inside(value):
        if isinstance(value, Mapping) and not isinstance(key, str):
            where = f"{'.'.join(place)}: " if place else ""
            told = f"{where}the name {key!r} is no text"
            raise ConfigError(f"{told}; allowed: text, in quotes where YAML reads {_taken(key)}")
        check_keys(one, (*place, str(key)), around | {id(value)})


def check_plain(value: Any, place: tuple[str, ...] = ()) -> None:
    """Raises ConfigError for text that is no single line, or too long, and for numbers that are not held exactly."""
    for key, one in _inside(value):
        if isinstance(value, Mapping):
            _check_text(key, ".".join(place))
        check_plain(one, (*place, str(key)))
    name = ".".join(place)
    if isinstance(value, str):
        _check_text(value, name)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ConfigError(f"{name}: an integer of {len(str(abs(value)))} digits; allowed: up to {LARGEST} (2^53)")
    elif isinstance(value, float) and value and not SMALLEST <= abs(value) <= 1 / SMALLEST:
        raise ConfigError(f"{name}: {value:g}, which single precision does not hold; allowed: 0, or 1e-30 to 1e30")


def _check_text(text: str, name: str) -> None:
    if not text and name not in EMPTY:
        raise ConfigError(f"{name}: '' is empty; allowed: text, or null where it may be left out")
    if len(text) > LONGEST:
        raise ConfigError(f"{name}: text of {len(text)} letters; allowed: up to {LONGEST}")
    if visible(text) != text or text != text.strip():
        raise ConfigError(f"{name}: {SHORT.repr(text)}; allowed: one line that can be printed, no blanks around it")


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _taken(key: Any) -> str:
    """What YAML takes text for that makes such a key."""
    if isinstance(key, bool):
        return "yes or no"
    return "null" if key is None else "a number" if isinstance(key, int | float) else "a date"
