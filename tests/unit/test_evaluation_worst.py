"""The worst case and what each attack breaks, against counting image by image on random answers."""

from math import isnan

import numpy as np
import pytest

from nndefense.axes.ball import LINF, RAW, STANDARDIZED
from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import CLEAN, WORST, Pack
from nndefense.axes.threat import BLACK, GRAY, Threat
from nndefense.core.errors import InputError
from nndefense.core.registry import load
from nndefense.evaluation import SUMMARIES
from nndefense.evaluation.base import Answers
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.rows import AXES, read_rows, summary_rows, write_rows
from nndefense.evaluation.worst import BREAKS, WORST_CASE, measure_breaks, measure_worst

KNN = System("All", 500, "conv_4_1", 50, "CBW-D", "soft", "knn")
SMALL = KNN._replace(size=100)
PLAIN = System.plain("none")
ADAPTIVE, WHITE = Threat("adaptive", "knn"), Threat.parse("white_box-All-500")
ROWS, ATTACKED, CLASSES = 80, 50, 4
BUDGETS = (0.02, 0.06, 0.1)
PACKS = [
    CLEAN,
    Pack(RAW, GRAY, "pgd", (0.02, 0.06, 0.1)),
    Pack(RAW, BLACK, "pgd", (0.06, 0.2)),
    Pack(RAW, WHITE, "pgd_pr", (0.02, 0.06)),
    Pack(RAW, ADAPTIVE, "noise", (0.01, 0.05)),
    Pack(RAW, ADAPTIVE, WORST, BUDGETS),
    Pack(STANDARDIZED, GRAY, "pgd", (0.02,)),
    Pack(LINF, GRAY, "fgsm", (0.01,)),
]
FACTS = {"dataset": "shapes", "seed": 1, "model": "net"}


def drawn(seed, systems=(KNN, SMALL, PLAIN), packs=PACKS):
    """Random answers, each to images in an order of its own; the worst case of a system is to some images only."""
    rng = np.random.default_rng(seed)
    labels, found = rng.integers(0, CLASSES, ROWS), []
    for system in systems:
        attacked = rng.permutation(ROWS)[:ATTACKED]
        for queries in (one for pack in packs for one in pack):
            rows = rng.permutation(attacked if queries.attack == WORST else ROWS)
            classes = np.where(rng.random(len(rows)) < 0.93, labels[rows], rng.integers(-1, CLASSES, len(rows)))
            delta = rng.random(len(rows)) * queries.epsilon
            found.append(Answers(Cell.of(system, queries), classes, labels[rows], rows, delta))
    return [found[place] for place in rng.permutation(len(found))]


def right_by_row(one):
    return {
        row: predicted == label and predicted != -1
        for row, predicted, label in zip(one.rows.tolist(), one.classes.tolist(), one.labels.tolist(), strict=True)
    }


def system_of(cell):
    return System(*cell[:7])


def usable(answers, system, epsilon):
    """Answers within a budget, by (setting, attack, epsilon)."""
    return {
        (one.cell.setting, one.cell.attack, one.cell.epsilon): right_by_row(one)
        for one in answers
        if system_of(one.cell) == system
        and one.cell.epsilon <= epsilon
        and one.cell.space not in ("linf", "standardized")
    }


def attacked_rows(answers, system, epsilon):
    (one,) = (
        one
        for one in answers
        if system_of(one.cell) == system and one.cell.attack == WORST and one.cell.epsilon == epsilon
    )
    return one


def values_of(measured):
    return {(system_of(cell), cell.epsilon): (cell, values) for cell, values in measured}


@pytest.mark.parametrize("seed", range(20))
def test_the_worst_case_is_what_counting_image_by_image_gives(seed):
    answers = drawn(seed)
    measured = measure_worst(answers)
    found = values_of(measured)
    assert len(measured) == len(found) == 9
    assert set(found) == {(system, epsilon) for system in (KNN, SMALL, PLAIN) for epsilon in BUDGETS}
    for (system, epsilon), (cell, values) in found.items():
        worst, within = attacked_rows(answers, system, epsilon), usable(answers, system, epsilon)
        assert cell == worst.cell
        holds = sum(all(one[row] for one in within.values()) for row in worst.rows.tolist())
        assert values["n"] == ATTACKED
        assert values["accuracy"] == holds / ATTACKED
        assert (values["ci_low"], values["ci_high"]) == wilson_interval(holds, ATTACKED)
        assert values["delta_mean"] == pytest.approx(sum(worst.delta) / ATTACKED)
        assert values["delta_max"] == max(worst.delta)
        alone = {
            name: sum(one[row] for row in worst.rows.tolist()) / ATTACKED
            for name, one in within.items()
            if name[1] != WORST
        }
        assert values["clean"] == alone["clean", "none", 0.0]
        assert values["transfer"] == min(
            value for (setting, *_), value in alone.items() if setting in ("gray_box", "black_box")
        )
        assert values["strongest_accuracy"] == min(alone.values())
        assert values["strongest"] in {
            f"{setting}/{attack}"
            for (setting, attack, _), value in alone.items()
            if value == values["strongest_accuracy"]
        }
        assert values["accuracy"] <= min(alone.values())
    for system in (KNN, SMALL, PLAIN):
        accuracies = [found[system, epsilon][1]["accuracy"] for epsilon in BUDGETS]
        assert accuracies[0] >= accuracies[1] >= accuracies[2]
        assert 1 > accuracies[0] > accuracies[2] > 0


@pytest.mark.parametrize("seed", range(20))
def test_breaks_are_what_counting_image_by_image_gives(seed):
    answers = drawn(seed)
    measured = measure_breaks(answers)
    attacks = {
        0.02: {("gray_box", "pgd"), (str(WHITE), "pgd_pr"), (str(ADAPTIVE), "noise")},
        0.06: {("gray_box", "pgd"), (str(WHITE), "pgd_pr"), (str(ADAPTIVE), "noise"), ("black_box", "pgd")},
    }
    attacks[0.1] = attacks[0.06]
    found = {(system_of(cell), cell.epsilon, cell.setting, cell.attack): values for cell, values in measured}
    assert len(found) == len(measured)
    assert set(found) == {
        (system, epsilon, *name) for system in (KNN, SMALL, PLAIN) for epsilon in BUDGETS for name in attacks[epsilon]
    }
    assert all(cell.space == "raw01" for cell, _ in measured)
    for system in (KNN, SMALL, PLAIN):
        for epsilon in BUDGETS:
            rows = attacked_rows(answers, system, epsilon).rows.tolist()
            within = usable(answers, system, epsilon)
            clean = within["clean", "none", 0.0]

            def left(name, row, within=within):
                return all(one[row] for (setting, attack, _), one in within.items() if (setting, attack) == name)

            for name in attacks[epsilon]:
                values = found[system, epsilon, *name]
                holds = sum(left(name, row) for row in rows)
                assert (values["accuracy"], values["n"]) == (holds / ATTACKED, ATTACKED)
                assert (values["ci_low"], values["ci_high"]) == wilson_interval(holds, ATTACKED)
                assert values["unique"] == sum(
                    clean[row] and [other for other in attacks[epsilon] if not left(other, row)] == [name]
                    for row in rows
                )


@pytest.mark.parametrize("measure", [measure_worst, measure_breaks])
def test_answers_in_another_ball_and_beyond_the_budget_do_not_count(measure):
    answers = drawn(3)
    mine = [one for one in answers if one.cell.space not in ("linf", "standardized")]
    assert len(mine) < len(answers)
    assert same(measure(mine), measure(answers))
    up_to = [one for one in mine if one.cell.epsilon <= 0.06]
    assert same(measure(up_to), [one for one in measure(mine) if one[0].epsilon <= 0.06])
    # Those within it do.
    wrong = [spoiled(one) if one.cell.setting == "gray_box" and one.cell.epsilon == 0.06 else one for one in answers]
    assert not same(measure(wrong), measure(answers))
    assert all(values["accuracy"] == 0 for cell, values in measure_worst(wrong) if cell.epsilon >= 0.06)
    assert all(values["accuracy"] > 0 for cell, values in measure_worst(wrong) if cell.epsilon < 0.06)


def spoiled(one):
    return Answers(one.cell, np.full_like(one.classes, -1), one.labels, one.rows, one.delta)


def same(one, other):
    """Whether measured rows are the same, in any order."""
    return sorted((cell, *map(str, values.items())) for cell, values in one) == sorted(
        (cell, *map(str, values.items())) for cell, values in other
    )


@pytest.mark.parametrize("measure", [measure_worst, measure_breaks])
def test_neither_other_systems_nor_the_order_of_answers_matter(measure):
    answers = drawn(4)
    order = np.random.default_rng(0).permutation(len(answers))
    assert same(measure([answers[place] for place in order]), measure(answers))
    mine = [one for one in answers if system_of(one.cell) == KNN]
    assert same(measure(mine), [one for one in measure(answers) if system_of(one[0]) == KNN])
    turned = [
        Answers(one.cell, one.classes[::-1], one.labels[::-1], one.rows[::-1], one.delta[::-1]) for one in answers
    ]
    accuracies, again = ([values["accuracy"] for _, values in measure(part)] for part in (answers, turned))
    assert accuracies == again


def test_the_strongest_attack_and_the_best_transfer_are_named():
    labels, rows = np.zeros(10, np.int64), np.arange(10)

    def wrong(queries, *places):
        classes = labels.copy()
        classes[list(places)] = 1
        return Answers(Cell.of(KNN, queries), classes, labels, rows, np.zeros(10))

    def one(threat, attack, epsilon=0.06):
        (queries,) = Pack(RAW, threat, attack, (epsilon,))
        return queries

    answers = [
        wrong(next(iter(CLEAN)), 0),
        wrong(one(GRAY, "pgd"), 0, 1, 2),
        wrong(one(BLACK, "pgd"), 0, 3, 4, 5),
        wrong(one(WHITE, "pgd_pr"), 0, 1, 5, 6, 7),
        wrong(one(GRAY, "pgd", 0.1), *range(10)),
        wrong(one(ADAPTIVE, WORST), 8),
    ]
    ((_, values),) = measure_worst(answers)
    assert values["accuracy"] == 0.1
    assert (values["clean"], values["transfer"]) == (0.9, 0.6)
    assert (values["strongest"], values["strongest_accuracy"]) == (f"{WHITE}/pgd_pr", 0.5)
    # 0 is wrong anyway; 1 and 5 are broken by two.
    unique = {(cell.setting, cell.attack): values["unique"] for cell, values in measure_breaks(answers)}
    assert unique == {("gray_box", "pgd"): 1, ("black_box", "pgd"): 2, (str(WHITE), "pgd_pr"): 2}
    ((_, alone),) = measure_worst([answers[0], answers[3], answers[5]])
    assert isnan(alone["transfer"])
    assert alone["strongest"] == f"{WHITE}/pgd_pr"


def test_a_system_without_a_worst_case_has_no_row():
    answers = drawn(0, packs=[pack for pack in PACKS if pack.attack != WORST])
    assert measure_worst(answers) == measure_breaks(answers) == []
    assert measure_worst([]) == measure_breaks([]) == []


@pytest.mark.parametrize("measure", [measure_worst, measure_breaks])
@pytest.mark.parametrize("setting", ["clean", "gray_box"])
def test_images_that_an_attack_lacks_are_an_error(measure, setting):
    answers = drawn(1)
    rows = attacked_rows(answers, KNN, 0.06).rows

    def without(one, row):
        keep = one.rows != row
        return Answers(one.cell, *(getattr(one, name)[keep] for name in ("classes", "labels", "rows", "delta")))

    absent = next(row for row in range(ROWS) if row not in rows)
    for row in (rows[0], rows.max(), rows.min(), absent):
        fewer = [
            without(one, row)
            if system_of(one.cell) == KNN and one.cell.setting == setting and one.cell.space in ("raw01", "none")
            else one
            for one in answers
        ]
        if row == absent:
            assert same(measure(fewer), measure(answers))
            continue
        with pytest.raises(InputError, match=f"worst case: {setting}/(none|pgd) lacks images that are attacked"):
            measure(fewer)


@pytest.mark.parametrize(("name", "summary"), [("accuracy_worst", WORST_CASE), ("attack_breaks", BREAKS)])
def test_rows_of_a_summary_are_written_and_read_back(tmp_path, name, summary):
    assert load(SUMMARIES[name].target) is summary
    answers = drawn(2, systems=(KNN,))
    rows = summary_rows(summary, answers, FACTS)
    assert all(tuple(row) == (*AXES, *summary.columns) for row in rows)
    assert [row["epsilon"] for row in rows] == sorted(row["epsilon"] for row in rows)
    write_rows(tmp_path / "rows.csv", rows, (*AXES, *summary.columns))
    for row, again in zip(rows, read_rows(tmp_path / "rows.csv", summary), strict=True):
        assert again.keys() == row.keys()
        for column, value in row.items():
            assert again[column] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
