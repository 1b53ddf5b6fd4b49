"""Rows of certified retrieval, as tables and figures read them."""

from collections.abc import Sequence
from typing import NamedTuple

from nndefense.core.text import one_line
from nndefense.evaluation.certified import CERTIFIED
from nndefense.evaluation.guarded import ATTACK, BASE, MEAN, RULES, VOTE, decision_of
from nndefense.evaluation.rows import collect_rows
from nndefense.report.names import Params
from nndefense.report.select import Row, Rows, matching

# What answers, in words.
RULE_NAMES = {BASE: "base model", MEAN: "mean embedding", VOTE: "vote of the copies"}


class System(NamedTuple):
    """A retrieval: a task's gallery, an embedding, the noise."""

    pool: str
    features: str
    sigma: float


def read_guarded(paths: Sequence[str]) -> list[Row]:
    """Rows of certified recall, and of recall clean and under attack. FileFault as of `collect_rows`."""
    return list(collect_rows(paths, None))


def systems_of(rows: Rows) -> list[System]:
    """Retrievals in the order of the rows."""
    return list(dict.fromkeys(System(row["pool"], row["features"], row["sigma"]) for row in rows))


def rows_of(rows: Rows, system: System) -> list[Row]:
    """Rows of a retrieval."""
    return matching(rows, **system._asdict())


def embedding_name(system: System, params: Params) -> str:
    """The label of an embedding in `params["embedding_labels"]`; without one, its name."""
    return one_line(params["embedding_labels"].get(system.features, system.features))


def system_name(system: System, size: int, params: Params) -> str:
    """shapes, LDA of features, 500 vectors in the gallery, σ = 0.25."""
    return f"{system.pool}, {embedding_name(system, params)}, {size:,} vectors in the gallery, σ = {system.sigma:g}"


def certified(rows: Rows, certificate: str) -> list[Row]:
    """Rows of a certificate, by radius."""
    return sorted(matching(rows, setting=CERTIFIED, attack=certificate), key=lambda row: row["epsilon"])


def attacked(rows: Rows, rule: str) -> list[Row]:
    """Rows of a decision rule under attack, by radius; none where it was not attacked."""
    return sorted(matching(rows, attack=ATTACK, defense=rule), key=lambda row: row["epsilon"])


def clean(rows: Rows, rule: str) -> Row:
    """The row of a decision rule's answers to clean queries."""
    return matching(rows, setting="clean", defense=rule)[0]


def rule_of(certificate: str) -> str:
    """The decision rule that a certificate is about."""
    return RULES[decision_of(certificate)]


def chosen_radii(radii: Sequence[float], most: int = 6) -> list[float]:
    """At most `most` of the radii, spread evenly over their order, the first and the last among them."""
    places = sorted(set(radii))
    count = min(most, len(places))
    return [places[round(place * (len(places) - 1) / max(1, count - 1))] for place in range(count)]


def certificates_of(params: Params) -> dict[str, str]:
    """Labels of the certificates by name, weaker ones first."""
    return {name: params["certificate_labels"][name] for name in params["certificates"]}
