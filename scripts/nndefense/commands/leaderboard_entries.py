"""Entries of a leaderboard: what each says, read from a file of its own and checked before anything is made of it."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from nndefense.axes.ball import BALLS
from nndefense.axes.numbers import number_text
from nndefense.config.base import Section, Text
from nndefense.config.files import check_files
from nndefense.config.messages import one_line
from nndefense.config.plain import check_keys, check_plain, normal
from nndefense.config.sections import RUN_NAME
from nndefense.core.errors import ConfigError
from nndefense.core.options import Count, Positive, Share, Whole
from nndefense.evaluation.intervals import wilson_interval

SUFFIX = ".yaml"
# Of the last of three decimals.
HALF = 0.0005 + 1e-9
DEFENDED = "adaptive"
# docs/threat-models.md has them; in the order of their tables.
ATTACKERS = {
    DEFENDED: "has the whole defence but its draws, and goes through it; the worst case over all attacks",
    "adaptive-database": "has the defence, with another database than its own",
    "adaptive-knows-features": "has the defence, and of the target's weights only the encoder's",
    "adaptive-knows-nothing": "has the defence, and none of the target's weights",
    "white_box": "has the target, and neighbours in a database of the attacker's own",
    "gray_box": "has the target, and knows of no defence: transfer, a loose bound",
    "black_box": "has another network, and knows of no defence: transfer, a loose bound",
}


def _day(value: Any) -> Any:
    # YAML makes a date of one that stands without quotes.
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else value


Day = Annotated[str, BeforeValidator(_day), Field(pattern=r"^\d{4}-\d\d-\d\d$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{7,40}$")]
Named = Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,64}$")]


class Clean(Section):
    """Images that are answered right when nobody attacks."""

    right: Whole = Field(description="Of the n test images, how many are answered right as they are.")
    accuracy: Share = Field(description="Their share, to three decimals.")


class Worst(Section):
    """Images that are answered right whatever was tried."""

    right: Whole = Field(description="Of the n test images, how many are answered right under every attack.")
    accuracy: Share = Field(description="Their share, to three decimals.")
    interval: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(
        description="95 % Wilson interval of that share, to three decimals."
    )


class Measured(Section):
    """Who measured it."""

    by: Text = Field(description="Who measured it.")
    date: Day = Field(description="Day on which that was made known.")


class Again(Section):
    """Who asked the exact defence again about the stored images."""

    by: Text = Field(description="Who re-scored the stored images, other than who measured them.")
    date: Day = Field(description="Day on which that was made known.")
    right: Whole = Field(description="How many of the n images held then.")


class Entry(Section):
    """A defended system, an attacker, and what holds."""

    system: Text = Field(description="The defence, with what it needs to be told apart: its database, its training.")
    network: Text = Field(description="The network that it defends.")
    data: Text = Field(description="The test images.")
    attacker: Literal[tuple(ATTACKERS)] = Field(  # type: ignore[valid-type]
        description="What the attacker has, as docs/threat-models.md says."
    )
    ball: Literal[tuple(BALLS)] = Field(description="What the budget bounds.")  # type: ignore[valid-type]
    epsilon: Positive = Field(description="The budget.")
    n: Count = Field(description="Test images that were attacked.")
    clean: Clean = Field(description="Accuracy on these images as they are.")
    worst_case: Worst = Field(description="Accuracy under every attack that was tried: an upper bound.")
    void: Text | None = Field(
        None, description="Why the worst case is known not to be one (null = nothing says so); such entries come last."
    )
    commit: Commit = Field(description="Commit of this repository that states the numbers.")
    stated: Text = Field(description="Where that is: a file of this repository, an article.")
    measured: Measured = Field(description="Who measured it, and when.")
    rescored: Again | None = Field(description="Who else re-scored it, and when (null = nobody).")
    reproduce: Text = Field(description="Command that makes the numbers again.")
    configuration: Text | None = Field(None, description="Configuration of the run, where it was measured here.")
    run: Annotated[str, Field(pattern=RUN_NAME)] | None = Field(
        None, description="Name of that run, empty for `results/` itself: what `make leaderboard` re-scores."
    )
    defense: Named | None = Field(None, description="Name of the defence in that run.")
    note: Text | None = Field(None, description="What else has to be known.")


def read_entries(folder: str | Path) -> dict[str, Entry]:
    """Entries by the names of their files, in the order of these.

    Args:
        folder: of files NAME.yaml, one entry each; other files are not looked at.

    Raises:
        ConfigError: one line that names file and key, what is wrong, and what is allowed.
    """
    paths = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if not paths:
        raise ConfigError(f"{folder}: holds no entry; allowed: a folder with a file NAME{SUFFIX} for each")
    entries = {path.stem: read_entry(path) for path in paths}
    _check_distinct(paths, entries.values())
    return entries


def read_entry(path: Path) -> Entry:
    """The entry of a file. Raises ConfigError as `read_entries`."""
    raw = _read_mapping(path)
    try:
        check_keys(raw)
        entry = Entry.model_validate(normal(raw))
        check_plain(entry.model_dump())
        _check_numbers(entry)
        _check_run(entry)
    except ValidationError as error:
        raise ConfigError(f"{path}: {one_line(error, Entry, raw)}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return entry


def _read_mapping(path: Path) -> Mapping[str, Any]:
    import yaml

    check_files([path])
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read as YAML ({reason}); allowed: a mapping of keys in UTF-8") from None
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path}: is no mapping; allowed: the keys {', '.join(Entry.model_fields)}")
    return raw


def _check_numbers(entry: Entry) -> None:
    """Raises ConfigError where counts, accuracies, the interval and days do not fit together."""
    counts = {"clean.right": (entry.clean.right, entry.n, "n"),
              "worst_case.right": (entry.worst_case.right, entry.clean.right, "clean.right"),
              "rescored.right": (entry.rescored.right if entry.rescored else 0, entry.n, "n")}  # fmt: skip
    for key, (count, most, what) in counts.items():
        if count > most:
            raise ConfigError(f"{key}: {count} is not allowed; allowed: at most {most}, which is {what}")
    for key, score in (("clean", entry.clean), ("worst_case", entry.worst_case)):
        share = score.right / entry.n
        if abs(score.accuracy - share) > HALF:
            raise ConfigError(
                f"{key}.accuracy: {score.accuracy:g} is not allowed; allowed: {share:.3f}, {score.right} of {entry.n}"
            )
    own = wilson_interval(entry.worst_case.right, entry.n)
    if any(abs(stated - found) > HALF for stated, found in zip(entry.worst_case.interval, own, strict=True)):
        stated = ", ".join(f"{one:g}" for one in entry.worst_case.interval)
        raise ConfigError(
            f"worst_case.interval: [{stated}] is not allowed; allowed: [{own[0]:.3f}, {own[1]:.3f}], the Wilson "
            f"interval of {entry.worst_case.right} of {entry.n}"
        )
    for key, told in (("measured", entry.measured), ("rescored", entry.rescored)):
        if told is not None:
            _check_day(f"{key}.date", told.date)


def _check_day(key: str, text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{key}: {text} is no day; allowed: one of the calendar, as 2026-11-28") from None


def _check_run(entry: Entry) -> None:
    """Raises ConfigError for half of what names the images of a run, or images of another attacker than those."""
    given = {"run": entry.run, "defense": entry.defense}
    missing = [key for key, value in given.items() if value is None]
    if len(missing) == 1:
        raise ConfigError(f"{missing[0]}: is missing; allowed: run and defense together, or none of them")
    if not missing and entry.attacker != DEFENDED:
        raise ConfigError(
            f"run: {entry.run!r} is not allowed with attacker {entry.attacker}; allowed: {DEFENDED}, whose worst case "
            "a run stores"
        )


def _check_distinct(paths: Iterable[Path], entries: Iterable[Entry]) -> None:
    seen: dict[tuple[object, ...], Path] = {}
    for path, entry in zip(paths, entries, strict=True):
        what = (*contest(entry), entry.system, entry.network)
        if what in seen:
            raise ConfigError(
                f"{path}: system: {entry.system!r} stands there twice within {entry.ball} "
                f"{number_text(entry.epsilon)}, also in {seen[what]}; allowed: one entry, with the lower worst case"
            )
        seen[what] = path


# -- their order


def contest(entry: Entry) -> tuple[str, str, float, int, str]:
    """What entries have in common that may be compared: data, ball, budget, n and attacker."""
    return entry.data, entry.ball, entry.epsilon, entry.n, entry.attacker


def tables(entries: Mapping[str, Entry]) -> list[dict[str, Entry]]:
    """Entries that may be compared, each table with the best worst case first; void ones last."""
    found: dict[tuple[object, ...], dict[str, Entry]] = {}
    for name, entry in sorted(entries.items(), key=lambda one: (_place(one[1]), _rank(one[1]), one[0])):
        found.setdefault(contest(entry), {})[name] = entry
    return list(found.values())


def _place(entry: Entry) -> tuple[object, ...]:
    data, ball, epsilon, n, attacker = contest(entry)
    return data.casefold(), data, ball, epsilon, n, list(ATTACKERS).index(attacker)


def _rank(entry: Entry) -> tuple[bool, float, float]:
    return entry.void is not None, -entry.worst_case.right, -entry.clean.right
