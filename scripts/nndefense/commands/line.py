"""A command line for Snakemake, with targets anywhere.

Snakemake's options may take many values, and swallow a target that follows them: `--resources gpu=4 results/fig5.pdf`
ends in a ValueError. Here an option stops at the first word that it cannot mean, and targets are put in front.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from nndefense.core.errors import InputError

FILES = (".yaml", ".yml", ".json")
# Those of configuration files, and of single keys, which here takes files, too.
CONFIG_FILES, CONFIG = "--configfile", "--config"
REPORT, REPORTS = "--report", (".html", ".zip")
# Options whose values are targets, or files like them.
NAMING = ("TARGET", "FILE", "RULE")


@dataclass(frozen=True)
class Option:
    """What Snakemake's parser says of an option.

    Attributes:
        names: all its names, the one that stands for it first.
        least, most: how many values it takes; most is None where any number.
        choices: values that it can have; empty: any.
        metavar: what its help calls a value, e.g. NAME=INT.
    """

    names: tuple[str, ...]
    least: int
    most: int | None
    choices: frozenset[str] = frozenset()
    metavar: str = ""

    def takes(self, word: str, count: int, is_target: Callable[[str], bool]) -> bool:
        """Whether a word is its next value, after `count` of them."""
        if self.most is not None and count >= self.most:
            return False
        if count < self.least and self.most is not None:
            return True
        if self.choices:
            return word in self.choices
        if self.names[0] == CONFIG:
            return "=" in word or (word.endswith(FILES) and not is_target(word))
        if "=" in self.metavar:
            return "=" in word
        if self.names[0] == REPORT:
            return word.endswith(REPORTS)
        if self.names[0] != CONFIG_FILES and self.most is None and self.metavar in NAMING:
            return True
        return count < self.least or not is_target(word)


class Given(NamedTuple):
    """An option as it was given."""

    option: Option
    values: list[str]


@dataclass
class Line:
    """What a command line says.

    Attributes:
        targets: in their order. given: options with their values, in their order.
    """

    targets: list[str] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)

    def values(self, *names: str) -> list[str]:
        """All values of the options of these names, one after the other."""
        return [value for one in self.given if set(names) & set(one.option.names) for value in one.values]

    def has(self, *names: str) -> bool:
        """Whether an option of these names was given."""
        return any(set(names) & set(one.option.names) for one in self.given)


def snakemake_options() -> list[Option]:
    """The options of the Snakemake that is installed, with those of its plugins."""
    from snakemake.cli import get_argument_parser

    return [option_of(action) for action in get_argument_parser()._actions if action.option_strings]


def option_of(action: Any) -> Option:
    """What an action of argparse says."""
    counts = {None: (1, 1), "?": (0, 1), "*": (0, None), "+": (1, None)}
    least, most = counts.get(action.nargs, (action.nargs, action.nargs))
    choices = frozenset(str(getattr(one, "value", one)) for one in action.choices or ())
    # Of two values, each has a name of its own.
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    names = sorted(action.option_strings, key=lambda name: not name.startswith("--"))
    return Option(tuple(names), least, most, choices, metavar)


def split(words: Sequence[str], options: Iterable[Option], is_target: Callable[[str], bool]) -> Line:
    """Tell targets, options and their values apart.

    Args:
        words: of the command line.
        options: that there are.
        is_target: whether a word can only be a target, where an option would take any.

    Raises:
        InputError: an option that is unknown, ambiguous, or lacks a value.
    """
    known = {name: option for option in options for name in option.names}
    line, place = Line(), 0
    while place < len(words):
        word = words[place]
        place += 1
        if word == "--":
            line.targets += words[place:]
            break
        if not word.startswith("-") or word == "-":
            line.targets.append(word)
            continue
        for option, values in _options(word, known):
            if values is None:
                values = []
                while place < len(words) and not _is_option(words[place]):
                    if not option.takes(words[place], len(values), is_target):
                        break
                    values.append(words[place])
                    place += 1
            if len(values) < option.least:
                raise InputError(f"{option.names[0]}: a value is missing; allowed: {_wanted(option)}")
            line.given.append(Given(option, values))
    return line


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not word[1:].replace(".", "", 1).isdigit()


def _options(word: str, known: Mapping[str, Option]) -> list[tuple[Option, list[str] | None]]:
    """The options of a word, -np has two; the last one's values where they stand in it."""
    name, glued, value = word.partition("=")
    if word.startswith("--"):
        return [(_long(name, known), [value] if glued else None)]
    found: list[tuple[Option, list[str] | None]] = []
    letters = word[1:]
    while letters:
        option = known.get(f"-{letters[0]}")
        if option is None:
            raise InputError(f"option {f'-{letters[0]}'!r} is unknown; allowed: those of `snakemake --help`")
        rest = letters[1:]
        if rest and option.most != 0:
            return [*found, (option, [rest.removeprefix("=")])]
        found.append((option, None))
        letters = rest
    return found


def _long(name: str, known: Mapping[str, Option]) -> Option:
    if name in known:
        return known[name]
    begun = {id(known[one]): one for one in known if one.startswith(name)}
    if len(begun) == 1:
        return known[next(iter(begun.values()))]
    near = sorted(begun.values()) or get_close_matches(name, known, n=3)
    what = "is short for several" if begun else "is unknown"
    allowed = ", ".join([*near, "those of `snakemake --help`"] if not begun else near)
    raise InputError(f"option {name!r} {what}; allowed: {allowed}")


def _wanted(option: Option) -> str:
    return ", ".join(sorted(option.choices)) or option.metavar or "a value"


def joined(line: Line) -> list[str]:
    """The words of a command line that Snakemake reads as it was meant."""
    return [*line.targets, *(word for option, values in line.given for word in (option.names[0], *values))]
