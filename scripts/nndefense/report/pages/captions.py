"""Captions of figures and tables: what is shown, what the paper claims about it, and what was seen in this run.

Every sentence on what was seen is made from the rows of claims.csv; there is none that stands whatever they say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nndefense.core.errors import InputError
from nndefense.core.files import read_csv
from nndefense.core.seals import fault
from nndefense.report.claims.catalog import CLAIMS
from nndefense.report.claims.judge import COLUMNS
from nndefense.report.claims.verdicts import effect_text, headlines, tally, tally_entries, verdict_text
from nndefense.report.markup import rst

NOT_TESTED = "not tested"
NO_CLAIM = "The paper's text makes no claim about it that accuracies can test."
LEGEND = (
    "An effect is a difference of accuracies (0.01 is one point) unless its description says otherwise; in brackets "
    "its 95 % interval, a paired bootstrap over the test images. Supported: the whole interval lies on the claimed "
    "side; contradicted: on the other side; inconclusive: it has both. On average: that is the mean of several "
    "comparisons, of which single ones say the opposite."
)
CLAIMED = {"F": "fig{}", "T": "table{}", "R": "table{}_racnn", "G": "retrievalguard/table", "S": "srd/table"}
_ID = re.compile(r"(?P<kind>[FTRGS])(?P<number>\d+)[a-z]?\.")


@dataclass(frozen=True)
class Finding:
    """One comparison of a claim, and what was seen of it.

    Attributes:
        claim: what the paper says. compared: the effect. claimed: the values that it claims for it.
        effect: with its interval; empty if not tested. n: test images. verdict: one of judge.VERDICTS.
        judged: the verdict in words, which say where single comparisons are opposed to it.
        singles: verdicts of the single comparisons; empty where there is one. note: on the paper's own numbers.
    """

    id: str
    where: str
    claim: str
    compared: str
    claimed: str
    effect: str
    n: int
    verdict: str
    judged: str
    singles: str = ""
    note: str = ""


@dataclass(frozen=True)
class Caption:
    """A caption in parts, plain text without markup.

    Attributes:
        heading: Figure 5. title: what it shows. shows: how to read it, and what is held fixed.
        summary: the verdicts counted. findings: one per comparison. paper: what the paper's own is of.
        differences: how this run's data differ from the paper's.
    """

    name: str
    heading: str
    title: str
    shows: str
    summary: str
    findings: tuple[Finding, ...]
    paper: str
    differences: tuple[str, ...]


def read_claims(path: str | Path) -> list[dict[str, Any]]:
    """Rows of claims.csv as `judge` gave them. FileFault for other columns or a damaged line."""
    try:
        return [{name: _value(name, text) for name, text in row.items()} for row in read_csv(path, COLUMNS, "claims")]
    except ValueError as error:
        raise fault(path, f"cannot be read as claims ({error})") from error


def _value(name: str, text: str) -> str | int | float:
    if name in ("pooled", "n"):
        return int(text)
    return float(text) if name in ("effect", "ci_low", "ci_high") and text else text


def piece_of(claim_id: str) -> str | None:
    """The piece that a claim is about: F6a.x -> fig6, R1.x -> table1_racnn, S1.x -> srd/table; or none."""
    found = _ID.match(claim_id)
    return CLAIMED[found["kind"]].format(found["number"]) if found else None


def findings_of(name: str, judged: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Everything that was seen of the claims about a figure or table; judged: rows in the order of `judge`."""
    known = {claim.id: claim for claim in CLAIMS}
    found = []
    for row, singles in headlines(judged):
        if piece_of(row["id"]) != name:
            continue
        claim = known.get(row["id"])
        compared = claim.compared if claim else ""
        counted = f" ({row['comparison']})" if row["comparison"] else ""
        found.append(
            Finding(
                id=row["id"],
                where=row["where"],
                claim=row["claim"],
                compared=f"{compared}{counted}",
                claimed=row["claimed"],
                effect=effect_text(row),
                n=row["n"],
                verdict=row["verdict"],
                judged=verdict_text((row, singles)),
                singles=tally(singles) if row["pooled"] > 1 else "",
                note=claim.note if claim else "",
            )
        )
    return tuple(found)


def summarise(name: str, judged: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts on a piece counted, on `claims` all: 4 comparisons of 3 claims: 3 supported, 1 inconclusive."""
    entries = [one for one in headlines(judged) if name == "claims" or piece_of(one[0]["id"]) == name]
    if not entries:
        return NO_CLAIM
    claims = len({row["id"] for row, _ in entries})
    return f"{_count(len(entries), 'comparison')} of {_count(claims, 'claim')}: {tally_entries(entries)}."


def caption_of(piece: Mapping[str, str], judged: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> Caption:
    """The caption of a figure or table.

    Args:
        piece: its words, one of `about["pieces"]`.
        judged: rows of claims.csv.
        about: what `nndefense.report.pages.about.about_run` tells of the run.
    """
    name, n = piece["name"], max((row["n"] for row in judged), default=0)
    images = f"Images: {f'{n:,} test images' if n else 'test images'} {about['images']}"
    return Caption(
        name=name,
        heading=piece["heading"],
        title=piece["title"],
        shows=piece["shows"],
        summary=summarise(name, judged),
        findings=() if name == "claims" else findings_of(name, judged),
        paper=piece["paper"],
        differences=(images, *about["differences"]),
    )


def captions(about: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> dict[str, Caption]:
    """The captions of all figures and tables of a run, by name, in the order of the report."""
    return {piece["name"]: caption_of(piece, judged, about) for piece in about["pieces"]}


def piece_at(path: str | Path, names: Iterable[str]) -> str:
    """The figure or table whose file it is: that of these names which the path ends with, but for its suffix.

    Raises InputError for a path that ends with none.
    """
    place = Path(path).with_suffix("")
    for name in sorted(names, key=len, reverse=True):
        if place.parts[-len(Path(name).parts) :] == Path(name).parts:
            return name
    raise InputError(f"{path}: is no file of a figure or table of this run")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# -- as reStructuredText, which Snakemake renders as a Jinja template


def as_rst(caption: Caption) -> str:
    """The caption in reStructuredText."""
    lines = [f"**{rst(caption.heading)}. {rst(caption.title)}.**", "", rst(caption.shows), ""]
    lines += [f"**What the paper claims, and what was seen here.** {rst(caption.summary)}", ""]
    for one, group in by_claim(caption.findings):
        lines += [f"- *The paper* ({rst(one.where)}): {rst(one.claim)}", ""]
        for finding in group:
            lines += [f"  *Seen here*: **{rst(finding.judged)}**. {rst(seen(finding))}", ""]
        if one.note:
            lines += [f"  {rst(one.note)}", ""]
    if caption.findings:
        lines += [rst(LEGEND), ""]
    if caption.paper:
        lines += [f"**The paper's own**: {rst(caption.paper)}.", ""]
    lines += ["**This run's data and the paper's**", ""]
    lines += [f"- {rst(text)}" for text in caption.differences]
    return "\n".join(lines) + "\n"


def seen(finding: Finding) -> str:
    """What was seen, as a sentence: the effect beside what is claimed for it."""
    if finding.verdict == NOT_TESTED:
        return f"This run has no rows for it ({finding.compared}; claimed: {finding.claimed})."
    text = f"{finding.effect}: {finding.compared}. Claimed: {finding.claimed}. n = {finding.n:,}."
    return f"{text} Single comparisons: {finding.singles}." if finding.singles else text


def by_claim(findings: Iterable[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Findings of the same claim together, behind the first of them."""
    groups: dict[str, list[Finding]] = {}
    for one in findings:
        groups.setdefault(one.id, []).append(one)
    return [(group[0], group) for group in groups.values()]
