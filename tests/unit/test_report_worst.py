"""What is told of the worst case: the table, the figure, the card, alarms, and the column in other tables."""

import pytest

from nndefense.core.files import write_json
from nndefense.evaluation.rows import AXES, write_rows
from nndefense.evaluation.worst import BREAKS, WORST_CASE
from nndefense.report.figures.fig_adaptive import draw_adaptive, select_adaptive
from nndefense.report.pieces import load_piece
from nndefense.report.tables.worst_case import as_latex, as_markdown, find
from nndefense.report.worst import alarms, as_setting, attack_text, attackers_of, deployed, read_reports

BASE = {"pool": "Targeted", "features": "conv_4_1", "neighbors": 50, "weighting": "CBW-D", "combination": "soft"}
PARAMS = BASE | {
    "attack_labels": {"soft_retrieval": "Soft retrieval", "square": "Square", "pgd": "PGD", "noise": "Noise"},
    "defense_labels": {"none": "No defence", "knn": "Nearest neighbours", "crop_ensemble": "Crop ensemble"},
    "defense_kinds": {"none": "none", "knn": "knn", "crop_ensemble": "crop_ensemble"},
    "suite": ["noise", "soft_retrieval", "square"],
    "options": {"noise": {"tries": 3}, "soft_retrieval": {"steps": 40}, "square": {"queries": 9}},
    "surrogates": ["small", "other"],
    "networks": {"crop_ensemble": "small"},
    "commands": {"knn": ["snakemake results/x.csv"]},
}
KNN = {"defense": "knn", "size": 120, **BASE}
PLAIN = {"pool": "none", "size": 0, "features": "none", "neighbors": 0, "weighting": "none", "combination": "none"}
CROP, NONE = {"defense": "crop_ensemble", **PLAIN}, {"defense": "none", **PLAIN}


def row(system, epsilon, accuracy, **more):
    values = {"dataset": "shapes", "seed": 1, "model": "small", "attack": "worst", "space": "raw01", "n": 200}
    values |= {"setting": f"adaptive-{system['defense']}", "epsilon": epsilon, "accuracy": accuracy}
    values |= {"ci_low": max(0, accuracy - 0.05), "ci_high": min(1, accuracy + 0.05)}
    values |= {"delta_mean": epsilon, "delta_max": epsilon, "clean": 0.9, "transfer": 0.5, "unique": 3}
    values |= {"idle": 0, "voters": float(system["neighbors"]), "copies": 0, "near": 0}
    strongest = f"adaptive-{system['defense']}/soft_retrieval"
    return {**values, **system, "strongest": strongest, "strongest_accuracy": accuracy + 0.01, **more}


WORST = [
    row(system, epsilon, accuracy)
    for system, accuracies in ((KNN, (0.3, 0.1)), (CROP, (0.2, 0.05)), (NONE, (0.02, 0.0)))
    for epsilon, accuracy in zip((0.02, 0.06), accuracies, strict=True)
]
SMALLER = row({**KNN, "size": 60}, 0.06, 0.08)
BREAKS_ROWS = [
    row(KNN, epsilon, accuracy, attack=attack)
    for attack, accuracies in (("noise", (0.8, 0.7)), ("soft_retrieval", (0.31, 0.11)), ("square", (0.6, 0.5)))
    for epsilon, accuracy in zip((0.02, 0.06), accuracies, strict=True)
]
FOREIGN = [
    row(KNN, 0.06, accuracy, attack="soft_retrieval", setting=f"adaptive-knn-{name}")
    for name, accuracy in (("Targeted-120-overlap-0", 0.2), ("knows-nothing", 0.4))
]


def report(defense="knn", settled=0.3, moved=0.0, sanity=0.0, stages=()):
    shares = [{"epsilon": one, "settled": settled, "holds": settled - moved, "moved": moved} for one in (0.02, 0.06)]
    return {
        "threat": f"adaptive-{defense}", "ball": "raw01", "classes": 10, "images": 200, "shares": shares,
        "stages": list(stages), "sanity": {"epsilon": 0.3, "share": sanity},
    }  # fmt: skip


def stage(attack, broke, epsilon=0.06, tried=40, stuck=0):
    return {"epsilon": epsilon, "attack": attack, "tried": tried, "broke": broke, "stuck": stuck}


def test_nothing_is_void_where_nothing_is_wrong():
    assert alarms([report()], 0.06, {"soft_retrieval": 0.1, "square": 0.5, "noise": 0.7}) == []


@pytest.mark.parametrize(
    ("changed", "alone", "reason"),
    [
        ({"moved": 0.01}, {}, "twice the steps break 1.0 points more"),
        ({"sanity": 0.105}, {}, "0.105 hold within 0.3, chance is 0.100"),
        ({"stages": [stage("soft_retrieval", 3, stuck=4)]}, {}, "no gradient for 4 of 200 images"),
        ({"stages": [stage("square", 2)]}, {}, "queries break 2 images that gradients do not"),
        ({}, {"soft_retrieval": 0.3, "square": 0.29, "noise": 0.1}, "queries alone break more than gradients"),
    ],
)
def test_alarms(changed, alone, reason):
    assert alarms([report(**changed)], 0.06, alone) == [reason]


def test_what_is_no_alarm():
    calm = report(moved=0.0099, sanity=0.1, stages=[stage("square", 1, stuck=9), stage("square", 9, epsilon=0.02)])
    assert alarms([calm], 0.06, {"soft_retrieval": 0.3, "square": 0.299}) == []


def test_only_the_deployed_system_is_shown():
    other = row({**KNN, "weighting": "UW"}, 0.06, 0.2)
    assert deployed([*WORST, SMALLER, other], PARAMS) == WORST


def test_the_table_says_who_broke_what():
    reports = {"knn": [report()], "crop_ensemble": [report("crop_ensemble", moved=0.02)], "none": [report("none")]}
    reports["crop_ensemble"][0]["stages"] = [stage("soft_retrieval", 30)]
    found = find([*WORST, SMALLER], BREAKS_ROWS, reports, PARAMS)
    text = as_markdown(found, [*BREAKS_ROWS, *FOREIGN], PARAMS)
    lines = text.splitlines()
    first = next(line for line in lines if line.startswith("| No defence"))
    assert lines.index(first) < lines.index(next(line for line in lines if line.startswith("| Crop ensemble")))
    knn = [line for line in lines if line.startswith("| Targeted-120 (conv_4_1)")][1]
    cells = [one.strip() for one in knn.strip("|").split("|")]
    assert cells[1:] == ["0.900", "0.500", "0.700 (3)", "0.110 (3)", "0.500 (3)",
                         "0.110 Soft retrieval, through the defence", "0.100 [0.050, 0.150]"]  # fmt: skip
    crop = [line for line in lines if line.startswith("| Crop ensemble")][1]
    assert "| 30 of 40 |" in crop
    assert "void: twice the steps break 2.0 points more" in crop
    assert "| Soft retrieval, through the defence, with Targeted-120-overlap-0 | 0.200" in text
    assert "| Soft retrieval, through the defence, no weights known | 0.400" in text
    latex = as_latex(found, PARAMS)
    assert latex.count("\\\\") >= 8
    assert "_" not in latex.replace("\\_", "").partition("\n")[2]


def test_attackers_begin_with_the_one_who_has_everything():
    bare = [row(NONE, 0.06, 0.9, attack=one["attack"], setting=one["setting"]) for one in (*FOREIGN, *BREAKS_ROWS)]
    rows = attackers_of([*bare, *FOREIGN, *BREAKS_ROWS], PARAMS)
    assert rows[0]["setting"] == "adaptive-knn"
    assert len(rows) == 3
    assert {one["defense"] for one in rows} == {"knn"}
    assert attackers_of(BREAKS_ROWS, PARAMS) == []


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("clean", "none"),
        ("gray_box", "PGD, gray box"),
        ("adaptive-knn", "PGD, through the defence"),
        ("adaptive-knn-Targeted-500", "PGD, through the defence, with Targeted-500"),
        ("adaptive-knn-Targeted-8-overlap-0-knows-features",
         "PGD, through the defence, with Targeted-8-overlap-0, the features known"),
    ],
)  # fmt: skip
def test_attacks_in_words(setting, text):
    assert attack_text(setting, "pgd", PARAMS) == text


def test_the_figure_has_a_panel_per_defence_and_readable_lines():
    figure = draw_adaptive(select_adaptive([*WORST, SMALLER], PARAMS), PARAMS)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["Targeted-120 (conv_4_1)", "Crop ensemble"]
    for axes, accuracies in zip(panels, ((0.3, 0.1), (0.2, 0.05)), strict=True):
        lines = [list(line.get_ydata()) for line in axes.lines]
        assert lines == [[0.9, 0.02, 0.0], [0.9, 0.5, 0.5], [0.9, *accuracies]]
        assert len({(line.get_marker(), line.get_linestyle()) for line in axes.lines}) == 3
    alone = draw_adaptive([one for one in WORST if one["defense"] == "none"], PARAMS)
    assert [axes.get_title() for axes in alone.axes] == ["No defence"]


def test_the_worst_case_is_a_setting_of_its_own_in_other_tables():
    (one,) = as_setting([WORST[0]], PARAMS)
    assert (one["setting"], one["by"]) == ("worst", "Soft retrieval, through the defence")


@pytest.mark.parametrize("name", ["worst_case", "card", "fig_adaptive"])
def test_pieces_are_made_of_files(name, tmp_path):
    write_rows(tmp_path / "worst.csv", WORST, (*AXES, *WORST_CASE.columns))
    write_rows(tmp_path / "breaks.csv", BREAKS_ROWS, (*AXES, *BREAKS.columns))
    paths = []
    for defense in ("knn", "crop_ensemble", "none"):
        paths.append(str(tmp_path / f"{defense}.json"))
        write_json(tmp_path / f"{defense}.json", report(defense, stages=[stage("soft_retrieval", 5)]))
    files = {"worst": [str(tmp_path / "worst.csv")], "breaks": [str(tmp_path / "breaks.csv")], "reports": paths}
    assert list(read_reports(paths)) == ["knn", "crop_ensemble", "none"]
    made = load_piece(name).make(files, PARAMS)
    assert len(made.rows) == len(WORST)
    if name == "card":
        for words in ("## Crop ensemble", "Noise (3 tries), Soft retrieval (40 steps), Square (9 queries)",
                      "`snakemake results/x.csv`",
                      "gradients of small, other", "Soft retrieval 5 of 40", "n = 200 images"):  # fmt: skip
            assert words in made.markdown
