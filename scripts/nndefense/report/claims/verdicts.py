"""How judged claims are written down: a table of verdicts, and the comparisons that contradict."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from nndefense.report.claims.judge import VERDICTS, Claim
from nndefense.report.markup import Marked, latex, latex_comment, latex_line, markdown, markdown_table, tabular

HEADS = ("Claim", "Compared", "Claimed", "Effect [95 % interval]", "Verdict", "Single comparisons")
READING = (
    "An effect is an accuracy difference (0.01 is one point) unless its description says otherwise. Its 95 % "
    "interval is a paired bootstrap over test images. *Supported*: the whole interval lies on the claimed side; "
    "*contradicted*: on the other side; *inconclusive*: it has both. The verdict is that of the mean over all "
    "comparisons of a kind; the last column counts the verdicts of the single ones, each at 95 % and without a "
    "correction for their number. *On average*: single ones say the opposite."
)
OPPOSITE = {"supported": "contradicted", "contradicted": "supported"}
Row = Mapping[str, Any]
Entry = tuple[Row, Sequence[Row]]


def headlines(judged: Sequence[Row]) -> list[Entry]:
    """One entry per claim and kind of comparison: its mean (or only) row, and the single comparisons in it."""
    found: list[Entry] = []
    place = 0
    while place < len(judged):
        row = judged[place]
        count = row["pooled"] if row["pooled"] > 1 else 0
        singles = list(judged[place + 1 : place + 1 + count]) or [row]
        found.append((row, singles))
        place += 1 + count
    return found


def opposed(entry: Entry) -> int:
    """How many single comparisons say the opposite of the mean's verdict."""
    row, singles = entry
    return sum(one["verdict"] == OPPOSITE.get(row["verdict"]) for one in singles)


def verdict_text(entry: Entry) -> str:
    """A verdict in words, e.g. supported on average; 2 of 8 comparisons contradicted."""
    row, singles = entry
    count = opposed(entry)
    if not count:
        return row["verdict"]
    return f"{row['verdict']} on average; {count} of {len(singles)} comparisons {OPPOSITE[row['verdict']]}"


def effect_text(row: Row) -> str:
    """Effect and interval with a sign; empty for a claim that was not tested."""
    if row["effect"] == "":
        return ""
    return f"{row['effect']:+.4f} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}]"


def tally(rows: Sequence[Row]) -> str:
    """How many comparisons have which verdict, e.g. 5 supported, 1 inconclusive."""
    counts = [(name, sum(row["verdict"] == name for row in rows)) for name in VERDICTS]
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def tally_entries(entries: Sequence[Entry]) -> str:
    """How many claims' means have which verdict, e.g. 5 supported (2 of them only on average), 1 inconclusive."""
    parts = []
    for name in VERDICTS:
        same = [entry for entry in entries if entry[0]["verdict"] == name]
        mixed = sum(opposed(entry) > 0 for entry in same)
        text = f"{len(same)} {name}{f' ({mixed} of them only on average)' if mixed else ''}"
        parts += [text] if same else []
    return ", ".join(parts)


def claims_markdown(judged: Sequence[Row], claims: Sequence[Claim], about: str) -> str:
    """Verdicts by table and figure. about: a sentence on dataset, model and number of resamples."""
    entries = headlines(judged)
    lines = ["# The papers' claims on this run's data", "", markdown(about), ""]
    lines += [f"{READING} claims.csv has them all.", "", f"In all: {tally_entries(entries)}."]
    for where, group in groupby(entries, key=lambda entry: entry[0]["where"]):
        lines += ["", f"## {where}", "", *verdict_lines(list(group), claims)]
    return "\n".join(lines) + "\n"


def claims_latex(judged: Sequence[Row], claims: Sequence[Claim], about: str) -> str:
    """Verdicts as a LaTeX tabular (booktabs); the comment above it says what about."""
    by_id = {claim.id: claim for claim in claims}
    lines = []
    for entry in headlines(judged):
        claim = by_id[entry[0]["id"]]
        compared, claimed, effect, verdict, singles = _cells(claim, entry)
        cells = (entry[0]["where"], f"{claim.id} {claim.text}", compared, claimed, effect, verdict, singles)
        lines.append(latex_line(map(latex, cells)))
    widths = "p{2.2cm}p{5cm}p{5cm}p{2cm}lp{2.5cm}p{2.5cm}"
    return f"{latex_comment(about)}\n{tabular(widths, [latex_line(['Where', *map(latex, HEADS)])], lines)}"


def verdict_lines(entries: Sequence[Entry], claims: Sequence[Claim]) -> list[str]:
    """Lines of Markdown: the table of verdicts, the claims' notes, and the single comparisons that contradict."""
    by_id = {claim.id: claim for claim in claims}
    lines = markdown_table(HEADS, [_line(by_id[entry[0]["id"]], entry) for entry in entries])
    notes = dict.fromkeys(by_id[row["id"]].note for row, _ in entries)
    lines += [text for note in notes if note for text in ("", note)]
    return lines + _disagreeing(entries)


def _line(claim: Claim, entry: Entry) -> tuple[str, ...]:
    compared, claimed, effect, verdict, counts = _cells(claim, entry)
    return Marked(f"`{claim.id}` {markdown(claim.text)}"), compared, claimed, effect, Marked(f"**{verdict}**"), counts


def _cells(claim: Claim, entry: Entry) -> tuple[str, str, str, str, str]:
    row, singles = entry
    counts = "" if row["verdict"] == "not tested" else tally(singles)
    joined = f"{claim.compared} ({row['comparison']})" if row["comparison"] else claim.compared
    return joined, claim.region.text, effect_text(row), verdict_text(entry), counts


def _disagreeing(entries: Sequence[Entry]) -> list[str]:
    rows = [row for _, singles in entries for row in singles if row["verdict"] == "contradicted"]
    if not rows:
        return []
    texts = (f"- `{row['id']}` {markdown(row['comparison'])}: {effect_text(row)}" for row in rows)
    return ["", "Contradicted:", "", *texts]
