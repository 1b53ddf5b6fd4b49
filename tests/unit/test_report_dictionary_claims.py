"""Claims about semantic reconstruction dictionaries: which defences they compare, and when they hold."""

from collections.abc import Iterable

import numpy as np
import pytest

from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import Pack, QuerySet
from nndefense.evaluation.outcomes import write_predictions
from nndefense.report.claims.dictionaries import DICTIONARY_CLAIMS, MASKING_CLAIMS, with_hardest
from nndefense.report.claims.judge import judge, resampled_accuracies
from nndefense.report.claims.verdicts import headlines
from nndefense.report.pages.captions import findings_of
from nndefense.report.tables.claims import AXES, PIECE

IMAGES = 1000
CLAIMED = {
    "attack": "pgd", "space": "raw01", "epsilon": 0.06, "attack_labels": {"fgsm": "FGSM", "cw": "CW"},
    "dictionaries": {
        "behind": [["behind", "retrained"]], "purifiers": ["jpeg", "blur"], "reference": "srd",
        "choices": {"oracle": ["oracle"], "random": ["random"], "whole": ["whole"]}, "robust": [["chosen", "srd"]],
    },
}  # fmt: skip
# Accuracy clean, attacked through the target, and through the network that the defence asks.
GIVEN = {
    "none": (0.9, 0.1), "jpeg": (0.88, 0.35), "blur": (0.85, 0.4), "srd": (0.85, 0.55), "whole": (0.8, 0.45),
    "random": (0.6, 0.3), "oracle": (0.852, 0.552), "chosen": (0.87, 0.6), "behind": (0.8, 0.3, 0.5),
    "retrained": (0.9, 0.7, 0.2),
}  # fmt: skip


def query_sets(defense: str) -> Iterable[QuerySet]:
    names = ["clean", *(f"raw01/gray_box/{attack}/eps-0.02,0.06" for attack in ("fgsm", "pgd", "cw"))]
    names += [f"raw01/gray_box-{defense}/pgd/eps-0.06"] if defense in ("behind", "retrained") else []
    # Within another ball, which is no part of the comparison.
    names += ["linf/gray_box/fgsm/eps-0.06"]
    return [queries for name in names for queries in Pack.parse(name)]


def kind_of(queries: QuerySet) -> int:
    return 0 if queries.threat is None else 1 + (queries.threat.defense is not None)


def experiment(given: dict[str, tuple[float, ...]]) -> dict[Cell, np.ndarray]:
    return {
        Cell.of(System.plain(defense), queries): np.arange(IMAGES) < round(IMAGES * shares[kind_of(queries)])
        for defense, shares in given.items()
        for queries in query_sets(defense)
    }


def judged(outcomes, params=CLAIMED, claims=DICTIONARY_CLAIMS) -> list[dict]:
    return judge(claims, outcomes, params, resamples=400)


def test_claims_hold_where_dictionaries_do_what_is_said_of_them():
    rows = judged(experiment(GIVEN))
    assert [claim.id for claim in DICTIONARY_CLAIMS] == list(dict.fromkeys(row["id"] for row in rows))
    assert {row["verdict"] for row in rows} == {"supported"}
    effects = {(row["id"], row["comparison"]): row["effect"] for row in rows}
    cases = {
        ("S1.better_than_others", "srd minus the best of jpeg, blur"): 0.15,
        ("S2.model_agnostic", "behind minus retrained"): 0.3,
        ("S3.unseen_attacks", "srd minus no defence; FGSM: mean of 2"): 0.45,
        ("S3.unseen_attacks", "srd minus no defence; CW: Δ = 0.02"): 0.45,
        ("S4.semantic_choice", "srd minus whole; clean: no attack"): 0.05,
        ("S4.semantic_choice", "srd minus whole; gray box: mean of 2"): 0.1,
        ("S4.semantic_choice", "srd minus random; gray box: Δ = 0.06"): 0.25,
        ("S4.oracle", "oracle minus srd; gray box: mean of 2"): 0.002,
        ("S5.robust_choice", "chosen minus srd; gray box: Δ = 0.02"): 0.05,
    }
    for key, effect in cases.items():
        assert effects[key] == pytest.approx(effect, abs=1e-9), key
    # PGD is the attack that was seen; the other ball is another comparison's.
    assert [row["comparison"] for row, _ in headlines(rows) if row["id"] == "S3.unseen_attacks"] == [
        "srd minus no defence; FGSM: mean of 2", "srd minus no defence; CW: mean of 2",
    ]  # fmt: skip


def test_claims_fail_where_dictionaries_do_the_opposite():
    turned = {name: tuple(1 - share for share in shares) for name, shares in GIVEN.items()} | {"oracle": (0.3, 0.6)}
    assert {row["verdict"] for row in judged(experiment(turned))} == {"contradicted"}


@pytest.mark.parametrize(("share", "verdict"), [(0.47, "contradicted"), (0.5, "inconclusive"), (0.53, "supported")])
def test_more_than_ten_points_are_claimed(share, verdict):
    (row,) = judged(experiment(GIVEN | {"srd": (0.85, share)}), claims=DICTIONARY_CLAIMS[:1])
    assert (row["effect"], row["verdict"]) == (pytest.approx(share - 0.4), verdict)


def test_the_best_rival_is_found_anew_in_every_resample():
    outcomes = experiment(GIVEN)
    cells = {cell.defense: cell for cell in outcomes if (cell.setting, cell.attack, cell.epsilon) ==
             ("gray_box", "pgd", 0.06)}  # fmt: skip
    # Two rivals that are right on half of the images each, never on the same.
    outcomes[cells["jpeg"]] = np.arange(IMAGES) % 2 == 0
    outcomes[cells["blur"]] = ~outcomes[cells["jpeg"]]
    outcomes[cells["srd"]] = np.ones(IMAGES, bool)
    (row,) = judged(outcomes, claims=DICTIONARY_CLAIMS[:1])
    rivals = np.stack([outcomes[cells["jpeg"]], outcomes[cells["blur"]]], axis=1)
    expected = np.quantile(1 - resampled_accuracies(rivals, 1, 400).max(axis=1), [0.025, 0.975])
    assert row["ci_high"] <= 0.5
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(expected), abs=0.005)


def test_without_dictionaries_or_counterparts_claims_are_not_tested():
    bare = experiment({"none": (0.9, 0.1)})
    for params in ({}, {**CLAIMED, "dictionaries": None}, CLAIMED):
        rows = judged(bare, params, (*DICTIONARY_CLAIMS, *MASKING_CLAIMS))
        assert {row["verdict"] for row in rows} == {"not tested"}
    alone = {name: one for name, one in GIVEN.items() if name != "retrained"}
    untested = {row["id"] for row in judged(experiment(alone)) if row["verdict"] == "not tested"}
    assert untested == {"S2.model_agnostic"}


@pytest.mark.parametrize(("second", "effect", "verdict"), [(0, 0.5, "contradicted"), (250, 0.25, "contradicted"),
                                                         (490, 0.01, "supported")])  # fmt: skip
def test_a_defence_masks_its_gradient_where_its_own_attacker_breaks_more(second, effect, verdict):
    system = System.plain("srd")
    gray = Pack.parse("raw01/gray_box/pgd/eps-0.02,0.06")
    outcomes = {
        Cell.of(system, queries): np.arange(IMAGES) < right for queries, right in zip(gray, (900, 500), strict=True)
    }
    # BPDA breaks nothing that is right in the gray box, the other attack what is left of it.
    for attack, right in (("bpda", 500), ("unrolled", second)):
        (queries,) = Pack.parse(f"raw01/adaptive-srd/{attack}/eps-0.06")
        outcomes[Cell.of(system, queries)] = np.arange(IMAGES) < right
    (row,) = judged(with_hardest(outcomes), claims=MASKING_CLAIMS)
    assert (row["comparison"], row["effect"], row["verdict"]) == ("srd, Δ = 0.06", effect, verdict)


def test_attacks_together_leave_what_each_of_them_leaves():
    (first, second), (third,) = Pack.parse("raw01/adaptive-srd/bpda/eps-0.02,0.06"), Pack.parse(
        "raw01/adaptive-srd/unrolled/eps-0.06")  # fmt: skip
    foreign = Pack.parse("raw01/adaptive-other/bpda/eps-0.06")
    right = {first: [1, 1, 0], second: [1, 0, 1], third: [0, 1, 1], next(iter(foreign)): [0, 0, 0]}
    outcomes = {Cell.of(System.plain("srd"), queries): np.array(one, bool) for queries, one in right.items()}
    found = {cell: one for cell, one in with_hardest(outcomes).items() if cell not in outcomes}
    assert {(cell.attack, cell.setting, cell.epsilon): one.tolist() for cell, one in found.items()} == {
        ("worst", "adaptive-srd", 0.02): [True, True, False],
        ("worst", "adaptive-srd", 0.06): [False, False, True],
    }


def test_the_table_of_claims_judges_masking_on_the_images_of_adaptive_attacks(tmp_path):
    files: dict[str, list[str]] = {"predictions": [], "through": []}
    # Four images in another order; of those two that were attacked through the defence one is lost.
    for role, name, rows, classes in (
        ("predictions", "raw01/gray_box/pgd/eps-0.06", [1, 2, 3, 4], [0, 7, 7, 7]),
        ("through", "raw01/adaptive-srd/bpda/eps-0.06", [4, 2], [0, 7]),
        ("through", "raw01/adaptive-srd/unrolled/eps-0.06", [4, 2], [7, 7]),
    ):
        (queries,) = pack = Pack.parse(name)
        path = tmp_path / "srd" / f"{pack}.npz"
        answers = {(queries, System.plain("srd")): np.array(classes)}
        write_predictions(path, np.full(len(rows), 7), np.array(rows), answers, {queries: np.zeros(len(rows))})
        files[role].append(str(path))
    given = dict.fromkeys(AXES, "none") | CLAIMED | {"dataset": "shapes", "model": "small", "white_box": None}
    made = PIECE.make(files, given | {"root": str(tmp_path), "seed": 1, "resamples": 50})
    (row,) = [row for row in made.rows if row["id"] == "S6.not_masking"]
    assert (row["effect"], row["n"]) == (0.5, 2)
    assert "S6.not_masking" in [one.id for one in findings_of("srd/table", made.rows)]
