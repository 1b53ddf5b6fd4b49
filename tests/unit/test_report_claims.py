"""Claims: what they compare, how a bootstrap judges them, and what is written down."""

import numpy as np
import pytest
from scipy import stats

from nndefense.axes.cells import Cell
from nndefense.core.errors import InputError
from nndefense.evaluation.rows import format_rows
from nndefense.report.claims.catalog import CLAIMS as ALL_CLAIMS
from nndefense.report.claims.effects import line_weights, minus, r_squared
from nndefense.report.claims.judge import COLUMNS, Claim, Region, judge, resampled_accuracies
from nndefense.report.claims.tables import AT_LEAST, POSITIVE
from nndefense.report.claims.verdicts import claims_latex, claims_markdown, headlines, tally_entries, verdict_text

from .synthetic import OTHERS, PARAMS, expected, outcomes

# Those on the l-infinity comparison, on certified retrieval and on dictionaries are tested with their tables.
CLAIMS = [claim for claim in ALL_CLAIMS if claim.id[0] not in "GRS"]
IDS = [claim.id for claim in CLAIMS]


def verdicts(value, **options) -> dict[str, set[str]]:
    """Verdicts of every claim's headlines where all images have a correctness of `value`(cell)."""
    found: dict[str, set[str]] = {}
    for row, _ in headlines(judge(CLAIMS, outcomes(value, 1000), PARAMS, resamples=300, **options)):
        found.setdefault(row["id"], set()).add(row["verdict"])
    return found


def test_claims_are_told_apart_and_say_where_they_stand():
    assert len(set(IDS)) == len(IDS)
    for claim in CLAIMS:
        kind, number = ("Table", claim.id[1]) if claim.id[0] == "T" else ("Figure", claim.id[1:].partition(".")[0])
        assert claim.where.startswith(f"{kind} {number.rstrip('abcd')}")
        assert claim.text.endswith(".")
        assert claim.region.text


def test_all_claims_hold_where_all_trends_are_the_papers():
    assert verdicts(expected) == {name: {"supported"} for name in IDS}


def test_claims_fail_where_all_trends_are_turned_around():
    found = verdicts(lambda cell: 1 - expected(cell))
    straight = {name for name in IDS if name.endswith(("log_linear", "saturates_at_50"))}
    assert found == {name: {"supported" if name in straight else "contradicted"} for name in IDS}


def test_without_any_difference_only_weak_claims_hold():
    found = verdicts(lambda cell: 0.5)
    at_least = {"T1.cbwd_ge_cbwe_ge_uw", "T4.soft_ge_hard_at_cbwd", "F6d.holds_with_another_database"}
    for claim in CLAIMS:
        _, _, kind = claim.id.partition(".")
        if claim.id in at_least or kind in ("larger_ge_smaller", "saturates_at_50"):
            assert found[claim.id] == {"supported"}, claim.id
        elif kind in ("log_linear", "targeted_minus_all"):
            assert found[claim.id] == {"contradicted"}, claim.id
        else:
            assert found[claim.id] == {"inconclusive"}, claim.id


def test_saturation_and_linearity_can_fail():
    def value(cell: Cell) -> float:
        bend = -0.15 if cell.size == 1000 else 0
        return expected(cell) + bend + 0.04 * (cell.neighbors == 100)

    found = verdicts(value)
    for number in (3, 7, 8):
        assert found[f"F{number}.saturates_at_50"] == {"contradicted"}
    for number in (5, 9, 10):
        assert found[f"F{number}.log_linear"] == {"contradicted"}
        assert found[f"F{number}.slope_gt_0"] == {"supported"}
        assert found[f"F{number}.targeted_minus_all"] == {"supported"}


def test_claims_without_rows_are_not_tested():
    bare = {cell: right for cell, right in outcomes(n=50).items() if cell.defense == "none"}
    rows = judge(CLAIMS, bare, PARAMS, resamples=50)
    assert [row["id"] for row in rows] == IDS
    assert {(row["verdict"], row["effect"], row["n"]) for row in rows} == {("not tested", "", 0)}
    assert [row["id"] for row in judge(CLAIMS, {}, PARAMS, resamples=50)] == IDS


def test_claims_of_other_attacks_need_rows_of_them():
    found = {cell: right for cell, right in outcomes(n=100).items() if cell.attack in ("none", "pgd")}
    tested = {row["id"] for row in judge(CLAIMS, found, PARAMS, resamples=50) if row["verdict"] != "not tested"}
    assert {name.partition(".")[0] for name in tested} == {"T1", "T2", "T4", "F3", "F4", "F5"}


def test_comparisons_are_of_the_cells_they_name():
    rows = judge(CLAIMS, outcomes(n=2000), PARAMS, resamples=50)
    effects = {(row["id"], row["comparison"]): row["effect"] for row in rows}
    cases = {
        ("T1.cbwd_ge_cbwe_ge_uw", "CBW-D minus CBW-E: Train-2k (conv_4_1), Gray box Δ = 0.06"): 0.02,
        ("T1.bigger_db_better", "same pool, largest minus smallest: All: 4k minus 500, Clean"): 0.06,
        ("T1.black_gt_gray", "Targeted-4k (conv_4_1), UW"): 0.06 * 1.8 * 0.6,
        ("T2.knn_gt_none", "Targeted-4k (conv_4_1) minus no defence, Gray box Δ = 0.06"): 0.68 - 0.1728 - 0.1,
        ("T2.quilting_best_black", "Image quilting minus Targeted-4k (conv_4_1)"): 0.66 - 0.572,
        ("T4.soft_ge_hard_at_cbwd", "All-4k (conv_4_1-RMAC), Clean"): 0.02,
        ("F3.acc_up_in_K", "N = 4k, Clean"): 0.1129,
        ("F3.acc_down_in_eps", "N = 500, K = 10"): 0.06 * 1.8,
        ("F4.later_higher_at_small_eps", "conv_3_1 minus conv_2_1, Clean"): 0.05,
        ("F4.earlier_smaller_drop", "conv_3_1 minus conv_2_1, clean to Black box Δ = 0.06"): 0.4 * 0.06,
        ("F5.slope_gt_0", "All, Gray box Δ = 0.02"): 0.02,
        ("F5.targeted_minus_all", "Targeted minus All, N = 1k, Clean"): 0.02,
        ("F6b.acc_down_in_size", "PGD-FS, Δ = 0.06"): 0.2 * 3 / 12,
        ("F6c.acc_down_in_overlap", "PGD-FS, Δ = 0.02"): 0.2,
    }
    for key, effect in cases.items():
        assert effects[key] == pytest.approx(effect, abs=1.1e-3), key


# -- the bootstrap


def pair(n: int, seed: int, first: float, second: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    common = random.random(n)
    return common + 0.2 * random.random(n) < first, common + 0.2 * random.random(n) < second


def one_claim(region: Region) -> Claim:
    def compare(rows, base):
        return minus("a minus b", rows[0], rows[1])

    return Claim("X.x", "Nowhere", "A is better than b.", "a minus b", region, compare)


def judged(first: np.ndarray, second: np.ndarray, region: Region = POSITIVE, **options) -> dict:
    cells = [Cell(name, 1, "f", 1, "UW", "soft", "knn", "none", "clean", "none", 0.0) for name in "ab"]
    (row,) = judge([one_claim(region)], dict(zip(cells, (first, second), strict=True)), {}, **options)
    return row


def test_interval_agrees_with_scipy_and_with_the_multinomial_bootstrap():
    first, second = pair(150, 3, 0.75, 0.65)
    row = judged(first, second, resamples=20000)
    reference = stats.bootstrap(
        (first.astype(float), second.astype(float)), lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True,
        vectorized=True, n_resamples=20000, method="percentile", rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    # How many of a resample's images each alone got right is a multinomial draw.
    alone = [(first & ~second).mean(), (second & ~first).mean()]
    draws = np.random.default_rng(7).multinomial(150, [*alone, 1 - sum(alone)], size=20000)
    other = np.quantile((draws[:, 0] - draws[:, 1]) / 150, [0.025, 0.975])
    assert row["effect"] == pytest.approx(first.mean() - second.mean())
    # A difference moves in steps of 1/n; quantiles of two runs may be a step apart.
    for ends in (reference, other):
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(ends), abs=1 / 150 + 1e-9)


def test_resamples_are_shared_seeded_and_independent_of_blocks():
    random = np.random.default_rng(0)
    correct = random.random((60, 3)) < [0.2, 0.5, 0.5]
    correct[:, 2] = correct[:, 1]
    means = resampled_accuracies(correct, seed=4, resamples=500)
    assert np.array_equal(means[:, 1], means[:, 2])
    assert np.array_equal(means, resampled_accuracies(correct, seed=4, resamples=500, block=100))
    assert not np.array_equal(means, resampled_accuracies(correct, seed=5, resamples=500))
    assert means.mean(0) == pytest.approx(correct.mean(0), abs=0.02)
    share = correct[:, 0].mean()
    assert means[:, 0].std() == pytest.approx(np.sqrt(share * (1 - share) / 60), rel=0.1)
    with pytest.raises(InputError, match="images"):
        resampled_accuracies(correct[:0], seed=1, resamples=10)


@pytest.mark.parametrize(
    ("region", "effect", "verdict"),
    [
        (POSITIVE, 0.1, "supported"),
        (POSITIVE, 0.0, "inconclusive"),
        (POSITIVE, -0.1, "contradicted"),
        (AT_LEAST, 0.1, "supported"),
        (AT_LEAST, -0.01, "inconclusive"),
        (AT_LEAST, -0.1, "contradicted"),
        (Region(-0.05, 0.05), 0.0, "supported"),
        (Region(-0.05, 0.05), 0.05, "inconclusive"),
        (Region(-0.05, 0.05), 0.2, "contradicted"),
    ],
)
def test_verdict_is_where_the_interval_lies(region, effect, verdict):
    n, discordant = 1000, 120
    gained = round((discordant + effect * n) / 2) if abs(effect) * n <= discordant else round(effect * n)
    lost = gained - round(effect * n)
    first, second = np.zeros(n, bool), np.zeros(n, bool)
    first[: max(gained, 0)] = True
    second[n - max(lost, 0) :] = True
    row = judged(first, second, region, resamples=2000)
    assert row["effect"] == pytest.approx(effect, abs=1e-9)
    assert row["verdict"] == verdict
    assert row["n"] == n


def test_equal_margins_decide_on_the_interval_alone():
    region = Region(low=-0.005)
    assert region.verdict(-0.004, 0.5) == "supported"
    assert region.verdict(-0.006, 0.5) == "inconclusive"
    assert region.verdict(-0.5, -0.006) == "contradicted"
    assert Region(0.01, 0.04).verdict(0.03, 0.05) == "inconclusive"
    assert Region(0.01, 0.04).verdict(0.041, 0.05) == "contradicted"


def test_cells_of_other_images_are_refused():
    with pytest.raises(InputError, match="same number of images"):
        judged(np.ones(5, bool), np.ones(6, bool))


def test_slopes_and_straightness_are_those_of_other_libraries():
    random = np.random.default_rng(1)
    places, values = random.random(6), random.random((4, 6))
    slopes = values @ line_weights(places)
    assert slopes == pytest.approx(np.polyfit(places, values.T, 1)[0])
    fits = [stats.linregress(places, row).rvalue ** 2 for row in values]
    assert r_squared(values, places) == pytest.approx(fits)
    assert r_squared(np.full((1, 6), 0.3), places) == 0
    assert line_weights([2.0, 2.0]) is None


# -- what is written down


def test_headlines_pool_what_is_of_one_kind():
    rows = judge(CLAIMS, outcomes(n=200), PARAMS, resamples=100)
    assert sum(len(singles) for _, singles in headlines(rows)) == sum(row["pooled"] <= 1 for row in rows)
    for row, singles in headlines(rows):
        assert {single["id"] for single in singles} == {row["id"]}
        if row["pooled"] > 1:
            assert len(singles) == row["pooled"]
            assert row["effect"] == pytest.approx(np.mean([single["effect"] for single in singles]))
    named = [row["comparison"] for row, _ in headlines(rows) if row["id"] == "T1.cbwd_ge_cbwe_ge_uw"]
    assert named == ["CBW-D minus CBW-E: mean of 18", "CBW-E minus UW: mean of 18"]


def test_claims_as_text():
    def value(cell: Cell) -> float:
        return expected(cell) + 0.1 * (cell.neighbors == 100)

    found = {cell: right for cell, right in outcomes(value, 500).items() if cell.attack in ("none", "pgd")}
    rows = judge(CLAIMS, found, PARAMS, resamples=200)
    text = claims_markdown(rows, CLAIMS, "About this run.")
    lines = text.splitlines()
    for claim in CLAIMS:
        assert any(line.startswith(f"| `{claim.id}` {claim.text} |") for line in lines)
    assert "About this run." in lines
    (line,) = [line for line in lines if line.startswith("| `F3.saturates_at_50`")]
    assert "| **contradicted** | 6 contradicted |" in line
    assert sum(line.startswith("- `F3.saturates_at_50`") for line in lines) == 6
    (line,) = [line for line in lines if line.startswith("| `F7.acc_up_in_K`")]
    assert line.endswith("|  | **not tested** |  |")
    places = [lines.index(f"## Figure {number}, App. D") for number in range(7, 13)]
    assert places == sorted(places)
    assert format_rows(rows, COLUMNS).splitlines()[0] == ",".join(COLUMNS)
    assert len(format_rows(rows, COLUMNS).splitlines()) == len(rows) + 1


def entry(verdict: str, *singles: str) -> tuple[dict, list[dict]]:
    row = {"id": "X.x", "verdict": verdict, "pooled": max(1, len(singles))}
    return row, [{"verdict": one} for one in singles] or [row]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (entry("supported"), "supported"),
        (entry("not tested"), "not tested"),
        (entry("supported", "supported", "inconclusive"), "supported"),
        (
            entry("supported", *["supported"] * 6, *["contradicted"] * 2),
            "supported on average; 2 of 8 comparisons contradicted",
        ),
        (entry("contradicted", "contradicted", "supported"), "contradicted on average; 1 of 2 comparisons supported"),
        (entry("inconclusive", "contradicted", "supported"), "inconclusive"),
    ],
)
def test_a_verdict_on_average_says_so(found, text):
    assert verdict_text(found) == text


def test_verdicts_on_average_are_counted():
    entries = [entry("supported"), entry("supported", "supported", "contradicted"), entry("not tested")]
    assert tally_entries(entries) == "2 supported (1 of them only on average), 1 not tested"
    assert tally_entries(entries[:1]) == "1 supported"


def test_a_mean_hides_no_single_comparison():
    def value(cell: Cell) -> float:
        # One database of six is better with uniform weights.
        odd = (cell.pool, cell.size, cell.features) == ("Train", 2000, "conv_4_1")
        return expected(cell) + 0.1 * (odd and cell.weighting == "UW")

    rows = judge(CLAIMS[:1], outcomes(value, 1000), PARAMS, resamples=200)
    assert {row["verdict"] for row, _ in headlines(rows)} == {"supported"}
    text = claims_markdown(rows, CLAIMS, "About.")
    assert "| **supported on average; 3 of 18 comparisons contradicted** |" in text
    assert "In all: 2 supported (1 of them only on average)." in text
    table = claims_latex(rows, CLAIMS, "About\nthis.")
    assert table.startswith("% About this.\n")
    assert "supported on average; 3 of 18 comparisons contradicted" in table
    assert "T1.cbwd\\_ge\\_cbwe\\_ge\\_uw" in table


def test_a_retrained_defence_counts_by_its_own_gradients_where_they_do_more_harm():
    (claim,) = (claim for claim in CLAIMS if claim.id == "T2.knn_best_gray")
    found = outcomes(n=1000)
    cell = next(one for one in found if (one.defense, one.setting, one.epsilon) == ("alp", "gray_box", 0.06))

    def effect(transfer: float, own: float | None) -> float:
        """Of the nearest-neighbour defence over the best other, which is ALP where its accuracy is high."""
        changed = dict(found)
        changed[cell] = np.arange(1000) < 1000 * transfer
        if own is not None:
            changed[cell._replace(setting="gray_box-alp")] = np.arange(1000) < 1000 * own
        (row,) = judge([claim], changed, PARAMS, resamples=200)
        return row["effect"]

    alone = effect(0.0, None)
    knn = effect(0.9, None) + 0.9
    assert alone == pytest.approx(knn - OTHERS["image_quilting"][1], abs=1e-9)
    assert effect(0.9, 0.6) == pytest.approx(knn - 0.6, abs=1e-9)
    assert effect(0.6, 0.9) == pytest.approx(knn - 0.6, abs=1e-9)
    assert effect(0.9, 0.0) == pytest.approx(alone, abs=1e-9)


def test_without_attackers_databases_claims_on_them_are_not_tested():
    rows = headlines(judge(CLAIMS, outcomes(expected, 100), PARAMS | {"white_box": None}, resamples=50))
    assert {row["verdict"] for row, _ in rows if row["id"].startswith("F6")} == {"not tested"}
