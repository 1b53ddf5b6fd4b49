"""A leaderboard as Markdown: a table for each set of entries that may be compared, and where each entry is from."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, get_args

from nndefense.axes.numbers import number_text
from nndefense.commands.leaderboard_entries import ATTACKERS, DEFENDED, Entry, tables
from nndefense.commands.leaderboard_scores import Rescored, share_text
from nndefense.config.base import Section
from nndefense.core.options import allowed
from nndefense.report.markup import Marked, markdown, markdown_table

TITLE = "Leaderboard"
BOUNDS = (
    "Every worst case here is an upper bound: the share of images that no attack has broken so far. The robust "
    "accuracy is at most that, up to the interval (95 %, Wilson), and a stronger attack is welcome. "
)
APART = (
    "A table has entries that may be compared: the same data, ball, budget, number of images and attacker. Networks "
    "differ within a table, and so may test images of the same data; a lead within the intervals may be chance. "
    "Entries that are void, which means that their worst case is known to be lower, come last."
)
SUBMIT = "nndefense rescore mine.npz --run RUN --defense DEFENSE --epsilon EPSILON"
# Of the page of the documentation, which has links.
MADE = (
    "Made of `leaderboard/*.yaml`, one entry a file, by `make leaderboard`; a test compares them. The numbers were "
    "stated first in [Results](results.md#the-worst-case); what attackers have is in "
    "[Threat models](threat-models.md#who-attacks)."
)
STRONGER = "[How](extending.md#a-stronger-attack-without-code-here)."
HEADS = ("system", "network", "clean [95 %]", "worst case [95 %]", "re-scored by others", "entry")
HERE = "re-scored here"
ORIGINS = ("entry", "measured", "commit", "stated in", "configuration", "made again by", "notes")
KEYS = ("key", "values", "meaning")


def page_text(entries: Mapping[str, Entry], found: Mapping[str, Rescored | str]) -> str:
    """The page as Markdown; found: by entry, what was answered when it was re-scored here, or why it was not."""
    return "\n".join([f"# {TITLE}", "", *_about(), _counted(entries, found), "", *_boards(entries, found, markdown)])


def docs_text(entries: Mapping[str, Entry]) -> str:
    """The page of the documentation: what the entries say, and what an entry is."""
    lines = [f"# {TITLE}", "", MADE, "", *_about(STRONGER), *_boards(entries, None, site)]
    return "\n".join([*lines, "## What an entry says", "", *markdown_table(KEYS, _keys("", Entry)), ""])


def _about(how: str = "") -> list[str]:
    submit = (
        f"Show it with `{SUBMIT}`: budgets are checked, the exact defence answers, and the command says which images "
        "break that no stored attack breaks. Then add an entry, or lower one."
    )
    return [BOUNDS + " ".join(filter(None, (submit, how))), "", APART, ""]


def _counted(entries: Mapping[str, Entry], found: Mapping[str, Rescored | str]) -> str:
    again = {name: one for name, one in found.items() if isinstance(one, Rescored)}
    agree = sum(one.agrees(entries[name]) for name, one in again.items())
    return (
        f"Of {len(entries)} entries, {len(again)} could be re-scored here, on the images that runs in this folder have "
        f"stored: {agree} agree, {len(again) - agree} differ. Entries are shown as they stand in their files."
    )


def _boards(
    entries: Mapping[str, Entry], found: Mapping[str, Rescored | str] | None, write: Callable[[str], Marked]
) -> list[str]:
    """Tables of entries; write: makes Markdown of what they say."""
    lines = []
    for table in tables(entries):
        first = next(iter(table.values()))
        heads = HEADS if found is None else (*HEADS[:4], HERE, *HEADS[4:])
        rows = [[*map(write, _row(name, entry, found))] for name, entry in table.items()]
        lines += [f"## {write(heading(first))}", "", f"The attacker {ATTACKERS[first.attacker]}.", ""]
        lines += [*markdown_table(heads, rows), ""]
    origins = [[*map(write, _origin(name, entry))] for table in tables(entries) for name, entry in table.items()]
    return [*lines, "## Where the entries are from", "", *markdown_table(ORIGINS, origins), ""]


def heading(entry: Entry) -> str:
    """What the entries of a table have in common: CIFAR-10 within Δ = 0.008 (raw01), n = 200."""
    attacker = "" if entry.attacker == DEFENDED else f", {entry.attacker}"
    return f"{entry.data} within Δ = {number_text(entry.epsilon)} ({entry.ball}), n = {entry.n:,}{attacker}"


def _row(name: str, entry: Entry, found: Mapping[str, Rescored | str] | None) -> list[str]:
    worst = share_text(entry.worst_case.right, entry.n) + (", void" if entry.void else "")
    cells = [entry.system, entry.network, share_text(entry.clean.right, entry.n), worst]
    if found is not None:
        again = found[name]
        cells.append(again.text(entry) if isinstance(again, Rescored) else f"not re-scored here: {again}")
    return [*cells, _others(entry), code(name)]


def _others(entry: Entry) -> str:
    again = entry.rescored
    return "nobody" if again is None else f"{again.by}, {again.date}: {share_text(again.right, entry.n)}"


def _origin(name: str, entry: Entry) -> list[str]:
    notes = [f"void: {entry.void}" if entry.void else None, entry.note]
    return [
        code(name),
        f"{entry.measured.by}, {entry.measured.date}",
        code(entry.commit),
        entry.stated,
        code(entry.configuration) if entry.configuration else "",
        code(entry.reproduce),
        "; ".join(filter(None, notes)),
    ]


def site(text: str) -> Marked:
    """Text as `markdown` makes it, for the site, whose Markdown knows no backslash before some letters that act."""
    return text if isinstance(text, Marked) else Marked(re.sub(r"\\(.)", _known, markdown(text)))


def _known(found: re.Match[str]) -> str:
    return f"&#{ord(found[1])};" if found[1] in "<&~=" else found[0]


def code(text: str) -> str:
    """Text to be typed, `Marked`; as text where it has what code in a table cannot hold."""
    plain = text.isprintable() and text == text.strip() and not {"`", "|"} & set(text)
    return Marked(f"`{text}`") if plain else text


def _keys(prefix: str, model: type[Section]) -> Iterable[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        below = next((one for one in _sections(field.annotation)), None)
        if below is None:
            yield code(f"{prefix}{name}"), Marked(allowed(field, quote="`")), Marked(field.description)
        else:
            values = "a mapping or null" if NoneType in get_args(field.annotation) else "a mapping"
            yield code(f"{prefix}{name}"), values, Marked(field.description)
            yield from _keys(f"{prefix}{name}.", below)


def _sections(annotation: Any) -> list[type[Section]]:
    return [one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Section)]
