"""Every claim of the paper's text that rows can test, and how the verdicts are written down."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from nndefense.report.claims_figures import FIGURE_CLAIMS
from nndefense.report.claims_tables import TABLE_CLAIMS
from nndefense.report.judge import Claim
from nndefense.report.select import layer_depth
from nndefense.report.verdicts import READING, headlines, tally, verdict_lines

CLAIMS: tuple[Claim, ...] = (*TABLE_CLAIMS, *sorted(FIGURE_CLAIMS, key=lambda claim: layer_depth(claim.id)[0]))


def as_markdown(judged: Sequence[Mapping[str, Any]], claims: Sequence[Claim], about: str) -> str:
    """Verdicts by table and figure. about: a sentence on dataset, model and number of resamples."""
    entries = headlines(judged)
    lines = ["# The paper's claims on this run's data", "", about, ""]
    lines += [f"{READING} claims.csv has them all.", "", f"In all: {tally([row for row, _ in entries])}."]
    for where, group in groupby(entries, key=lambda entry: entry[0]["where"]):
        lines += ["", f"## {where}", "", *verdict_lines(list(group), claims)]
    return "\n".join(lines) + "\n"
