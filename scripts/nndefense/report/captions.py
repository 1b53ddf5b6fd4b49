"""Captions of figures and tables: what is shown, what the paper claims about it, and what was seen in this run.

Every sentence on what was seen is made from the rows of claims.csv; there is none that stands whatever they say.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nndefense.errors import FileFault
from nndefense.files import fault
from nndefense.report.claims import CLAIMS
from nndefense.report.judge import COLUMNS
from nndefense.report.names import attack_name, thousands
from nndefense.report.pieces import Piece, attack_text, held_fixed
from nndefense.report.verdicts import effect_text, headlines, tally

NOT_TESTED = "not tested"
NO_CLAIM = "The paper's text makes no claim about it that accuracies can test."
LEGEND = (
    "An effect is a difference of accuracies (0.01 is one point) unless its description says otherwise; in brackets "
    "its 95 % interval, a paired bootstrap over the test images. Supported: the whole interval lies on the claimed "
    "side; contradicted: on the other side; inconclusive: it has both."
)
IMAGE_KINDS = {"shapes": "drawn images", "folder": "image files", "torchvision": "a set that torchvision publishes"}
_ID = re.compile(r"(?P<kind>[FT])(?P<number>\d+)[a-z]?\.")


@dataclass(frozen=True)
class Finding:
    """One comparison of a claim, and what was seen of it.

    Attributes:
        claim: what the paper says. compared: the effect. claimed: the values that it claims for it.
        effect: with its interval; empty if not tested. n: test images. verdict: one of judge.VERDICTS.
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
        with open(path, encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise fault(path, f"has columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
            rows = [dict(row) for row in reader]
        for row in rows:
            row |= {name: int(row[name]) for name in ("pooled", "n")}
            row |= {name: float(row[name]) for name in ("effect", "ci_low", "ci_high") if row[name] != ""}
    except FileFault:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise fault(path, f"cannot be read as judged claims ({error})") from error
    return rows


def piece_of(claim_id: str) -> str | None:
    """The figure or table that a claim is about: F6a.aware_lt_pgd -> fig6, T1.black_gt_gray -> table1; or none."""
    found = _ID.match(claim_id)
    if found is None:
        return None
    return f"{'fig' if found['kind'] == 'F' else 'table'}{found['number']}"


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
                singles=tally(singles) if row["pooled"] > 1 else "",
                note=claim.note if claim else "",
            )
        )
    return tuple(found)


def summarise(findings: Sequence[Finding]) -> str:
    """The verdicts counted, e.g. 4 comparisons of 3 claims: 3 supported, 1 inconclusive."""
    if not findings:
        return NO_CLAIM
    claims = len({one.id for one in findings})
    counts = tally([{"verdict": one.verdict} for one in findings])
    return f"{_count(len(findings), 'comparison')} of {_count(claims, 'claim')}: {counts}."


def caption_of(
    piece: Piece, judged: Sequence[Mapping[str, Any]], config: Mapping[str, Any], tested: int | None = None
) -> Caption:
    """The caption of a figure or table.

    judged: rows of claims.csv. config: the validated configuration's keys that `differences` reads, and `base`.
    tested: test images, by default those of the judged claims.
    """
    everything = piece.name == "claims"
    found = () if everything else findings_of(piece.name, judged)
    n = tested if tested is not None else max((row["n"] for row in judged), default=0)
    attack = attack_text(piece, config["base"]["attack"], config["attacks"]["settings"])
    fixed = held_fixed(piece, config["base"])
    sentences = [piece.shows]
    if attack and not everything:
        sentences.append(f"Attacked images: {attack}.")
    if fixed:
        sentences.append(f"Held fixed: {fixed}.")
    if everything:
        whole = [row for row, _ in headlines(judged)]
        summary = f"{_count(len(whole), 'comparison')} of {len({row['id'] for row in whole})} claims: {tally(whole)}."
    else:
        summary = summarise(found)
    return Caption(
        name=piece.name,
        heading=piece.heading,
        title=piece.title,
        shows=" ".join(sentences),
        summary=summary,
        findings=found,
        paper=piece.paper,
        differences=tuple(differences(config, n)),
    )


# -- how this run's data differ from the paper's


def differences(config: Mapping[str, Any], n: int) -> list[str]:
    """Sentences that set this run's data beside the paper's (Dubey et al. 2019, §5.1); n: test images judged."""
    base, kind = config["base"], config["images"][config["queries"]["images"]]["kind"]
    number = f"{n:,} test images" if n else "Test images"
    return [
        f"Images: {number} of {config['dataset']} ({IMAGE_KINDS.get(kind, kind)}, {config['classes']:,} classes); the "
        "paper: ImageNet, 1,000 classes.",
        f"Networks: {_model(config, config['target'])}; black-box attacks use the gradients of "
        f"{_model(config, config['surrogate'])}. The paper: ResNet-50, and ResNet-18 for black-box attacks, trained "
        "on ImageNet.",
        f"Databases: {'; '.join(_pool(config, name) for name in config['pools'])}. The paper: up to 50 billion web "
        "images at random (IG-N-All), 1 billion chosen by hashtag (IG-N-Targeted), 100 million (YFCC-100M), 1.28 "
        "million training images (IN-1.3M).",
        f"Attacks: {'; '.join(_method(name, options) for name, options in config['attacks']['methods'].items())}; "
        f"budgets Δ of {', '.join(f'{one:g}' for one in config['attacks']['epsilons'])}, on {base['space']} pixels. "
        "The paper: PGD with 10 steps; its tables are at Δ = 0.06 (this run's at "
        f"{base['epsilon']:g}).",
        f"Defence, where not varied: {base['features']} features, K = {base['neighbors']}, {base['weighting']}, "
        f"{base['combination']}. The paper: conv_5_1, K = 50, CBW-D, soft.",
        "Accuracies of the two are not to be compared value by value: what is judged are the differences and trends "
        "that the paper's text claims.",
    ]


def _model(config: Mapping[str, Any], name: str) -> str:
    model = config["models"][name]
    if train := model.get("train"):
        origin = f"trained here on {train['images']}"
        if "epochs" in train:
            origin += f", {_count(train['epochs'], 'epoch')}"
    elif "pretrained" in model:
        origin = f"torchvision's {model['pretrained']}"
    else:
        origin = "weights from a file"
    return f"{name} ({model['architecture']}, {origin})"


def _pool(config: Mapping[str, Any], name: str) -> str:
    pool = config["pools"][name]
    sizes = pool.get("sizes", config["sizes"])
    chosen = " whose tag names a class of the task" if pool.get("tags") == "task" else ""
    kinds = dict.fromkeys(config["images"][one]["kind"] for one in pool["images"])
    what = " and ".join(IMAGE_KINDS.get(kind, kind) for kind in kinds)
    sets = ", ".join(pool["images"])
    smallest = f"{thousands(min(sizes))} to " if len(sizes) > 1 else ""
    return f"{name}, {smallest}{thousands(max(sizes))} images of {sets} ({what}){chosen}"


def _method(name: str, options: Mapping[str, Any]) -> str:
    words = [f"{key.replace('_', ' ')} {value}" for key, value in options.items() if "steps" in key]
    return f"{attack_name(name)} ({', '.join(words)})" if words else attack_name(name)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# -- as reStructuredText, which Snakemake renders as a Jinja template


def escaped(text: str) -> str:
    """Text that reStructuredText and Jinja leave as it is."""
    text = re.sub(r"([\\*`|_\[\]<>])", r"\\\1", text)
    # An escaped space vanishes in reStructuredText, and keeps braces from being a Jinja expression.
    return text.replace("{", "{\\ ").replace("}", "\\ }")


def as_rst(caption: Caption) -> str:
    """The caption in reStructuredText."""
    lines = [f"**{escaped(caption.heading)}. {escaped(caption.title)}.**", "", escaped(caption.shows), ""]
    lines += [f"**What the paper claims, and what was seen here.** {escaped(caption.summary)}", ""]
    for one, group in by_claim(caption.findings):
        lines += [f"- *The paper* ({escaped(one.where)}): {escaped(one.claim)}", ""]
        for finding in group:
            lines += [f"  *Seen here*: **{finding.verdict}**. {escaped(seen(finding))}", ""]
        if one.note:
            lines += [f"  {escaped(one.note)}", ""]
    if caption.findings:
        lines += [escaped(LEGEND), ""]
    lines += [f"**The paper's own**: {escaped(caption.paper)}.", "", "**This run's data and the paper's**", ""]
    lines += [f"- {escaped(text)}" for text in caption.differences]
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
