"""How judged claims are written down: a table of verdicts, and the comparisons that contradict."""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.report.accuracy_grid import markdown_table
from nndefense.report.judge import VERDICTS, Claim

HEADS = ("Claim", "Compared", "Claimed", "Effect [95 % interval]", "Verdict", "Single comparisons")
READING = (
    "An effect is an accuracy difference (0.01 is one point) unless its description says otherwise. Its 95 % "
    "interval is a paired bootstrap over test images. *Supported*: the whole interval lies on the claimed side; "
    "*contradicted*: on the other side; *inconclusive*: it has both. The verdict is that of the mean over all "
    "comparisons of a kind; the last column counts the verdicts of the single ones, each at 95 % and without a "
    "correction for their number."
)
Entry = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]


def headlines(judged: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """One entry per claim and kind of comparison: its mean (or only) row, and the single comparisons in it."""
    found, place = [], 0
    while place < len(judged):
        row = judged[place]
        count = row["pooled"] if row["pooled"] > 1 else 0
        singles = list(judged[place + 1 : place + 1 + count]) or [row]
        found.append((row, singles))
        place += 1 + count
    return found


def effect_text(row: Mapping[str, Any]) -> str:
    """Effect and interval with a sign; empty for a claim that was not tested."""
    if row["effect"] == "":
        return ""
    return f"{row['effect']:+.4f} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}]"


def tally(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many comparisons have which verdict, e.g. 5 supported, 1 inconclusive."""
    counts = [(name, sum(row["verdict"] == name for row in rows)) for name in VERDICTS]
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def verdict_lines(entries: Sequence[Entry], claims: Sequence[Claim]) -> list[str]:
    """Lines of Markdown: the table of verdicts, the claims' notes, and the single comparisons that contradict."""
    by_id = {claim.id: claim for claim in claims}
    lines = markdown_table(HEADS, [_line(by_id[row["id"]], row, singles) for row, singles in entries])
    notes = dict.fromkeys(by_id[row["id"]].note for row, _ in entries)
    lines += [text for note in notes if note for text in ("", note)]
    return lines + _disagreeing(entries)


def _line(claim: Claim, row: Mapping[str, Any], singles: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    text = f"`{claim.id}` {claim.text}"
    counts = "" if row["verdict"] == "not tested" else tally(singles)
    compared = claim.compared if row["verdict"] == "not tested" else _joined(claim.compared, row["comparison"])
    return text, compared, claim.region.text, effect_text(row), f"**{row['verdict']}**", counts


def _joined(compared: str, comparison: str) -> str:
    return f"{compared} ({comparison})" if comparison else compared


def _disagreeing(entries: Sequence[Entry]) -> list[str]:
    rows = [row for _, singles in entries for row in singles if row["verdict"] == "contradicted"]
    if not rows:
        return []
    return ["", "Contradicted:", "", *(f"- `{row['id']}` {row['comparison']}: {effect_text(row)}" for row in rows)]
