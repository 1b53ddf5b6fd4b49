"""Figures 2, 3, 4, 6 and their like draw every row's accuracy and interval."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.legend import Legend

from nndefense.axes.queries import Pack
from nndefense.core.errors import InputError
from nndefense.report.aware import by_attack_size, by_overlap
from nndefense.report.figures.attacks import draw_attacks, select_attacks
from nndefense.report.figures.fig2 import Neighborhood, draw, sheet_rows
from nndefense.report.figures.fig3 import draw_fig3, select_fig3
from nndefense.report.figures.fig4 import draw_fig4, select_fig4
from nndefense.report.figures.fig5 import draw_fig5, select_fig5
from nndefense.report.figures.fig6 import draw_fig6, select_fig6
from nndefense.report.illustration import choose_query, query_title
from nndefense.report.select import distinct, matching, two_sizes
from nndefense.report.style import figure_bytes

from .synthetic import NEIGHBORS, PARAMS, accuracy_rows


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return accuracy_rows(n=500)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def drawn(axes: Axes) -> set[float]:
    """All heights of lines, bands and spans."""
    lines = [y for line in axes.lines for y in line.get_ydata()]
    bands = [y for band in axes.collections for path in band.get_paths() for y in path.vertices[:, 1]]
    spans = [y for patch in axes.patches for y in (patch.get_y(), patch.get_y() + patch.get_height())]
    return {round(float(y), 6) for y in (*lines, *bands, *spans)}


def assert_drawn(axes: Axes, rows: list[dict]) -> None:
    wanted = {round(row[name], 6) for row in rows for name in ("accuracy", "ci_low", "ci_high")}
    assert rows
    assert wanted <= drawn(axes)


def legend_texts(axes: Axes) -> list[list[str]]:
    """Texts of the legends of a panel, in their order."""
    return [[text.get_text() for text in one.get_texts()] for one in axes.get_children() if isinstance(one, Legend)]


@pytest.mark.parametrize("attack", ["pgd", "fgsm", "cw"])
def test_figure_3_has_a_line_per_k_and_size(rows, attack):
    params = PARAMS | {"attack": attack}
    chosen = select_fig3(rows, params)
    ours = matching(chosen, defense="knn")
    assert {row["attack"] for row in chosen} == {"none", attack}
    assert {row["setting"] for row in chosen} == {"clean", "black_box"}
    assert {(row["pool"], row["size"], row["features"]) for row in ours} == {
        ("Targeted", 4000, "conv_4_1"),
        ("Targeted", 500, "conv_4_1"),
    }
    figure = draw_fig3(chosen, params)
    (axes,) = figure.axes
    assert_drawn(axes, chosen)
    styles = [line.get_linestyle() for line in axes.lines]
    assert (styles.count("-"), styles.count("--"), styles.count(":")) == (len(NEIGHBORS), len(NEIGHBORS), 1)
    large = matching(ours, size=4000, neighbors=10)
    (solid,) = [line for line in axes.lines if list(line.get_ydata()) == [row["accuracy"] for row in large]]
    assert solid.get_linestyle() == "-"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*(f"K = {k}" for k in NEIGHBORS), "no defence"]
    assert [text.get_text() for text in figure.legends[1].get_texts()] == ["Targeted-4k", "Targeted-500"]
    assert figure.legends[1].get_title().get_text() == "Database"


def test_figure_3_takes_the_size_nearest_to_a_tenth():
    sizes = [{"size": size} for size in (500, 1000, 2000, 4000, 8000)]
    assert two_sizes(sizes) == [8000, 1000]
    assert two_sizes(sizes[:1]) == [500]


@pytest.mark.parametrize("attack", ["pgd", "cw"])
def test_figure_4_has_a_line_per_layer_and_a_panel_per_setting(rows, attack):
    params = PARAMS | {"attack": attack}
    chosen = select_fig4(rows, params)
    assert {row["size"] for row in matching(chosen, defense="knn")} == {4000}
    assert distinct(matching(chosen, defense="knn"), "features") == ["conv_2_1", "conv_3_1", "conv_4_1"]
    figure = draw_fig4(chosen, params)
    assert [axes.get_title() for axes in figure.axes] == ["Gray box", "Black box"]
    for axes, setting in zip(figure.axes, ("gray_box", "black_box"), strict=True):
        assert_drawn(axes, [row for row in chosen if row["setting"] in ("clean", setting)])
        assert len(axes.lines) == 4


@pytest.mark.parametrize("attack", ["fgsm", "cw"])
def test_figures_9_and_10_are_figure_5_under_other_attacks(rows, attack):
    params = PARAMS | {"attack": attack}
    chosen = select_fig5(rows, params)
    assert {row["attack"] for row in chosen} == {"none", attack}
    figure = draw_fig5(chosen, params)
    assert figure.legends[0].get_title().get_text() == {"fgsm": "FGSM", "cw": "CW-L2"}[attack]
    for axes, setting in zip(figure.axes, ("gray_box", "black_box"), strict=True):
        knn = [row for row in matching(chosen, defense="knn") if row["setting"] in ("clean", setting)]
        assert_drawn(axes, knn)


def test_figure_6_has_four_panels_on_one_defence(rows):
    chosen = select_fig6(rows, PARAMS)
    ours = matching(chosen, defense="knn")
    assert {(row["pool"], row["size"]) for row in ours} == {("Targeted", 4000)}
    figure = draw_fig6(chosen, PARAMS)
    first, second, third, fourth = figure.axes
    same = [row for row in ours if row["setting"] in ("clean", "gray_box", "white_box-Targeted-4000")]
    assert_drawn(first, [*same, *matching(chosen, defense="none")])
    clean = matching(chosen, setting="clean", defense="knn")
    assert_drawn(second, [*by_attack_size(ours, PARAMS), *clean])
    assert_drawn(third, [*by_overlap(ours, PARAMS), *clean])
    assert sorted(distinct(by_attack_size(ours, PARAMS), "attack_size")) == [500, 1000, 4000]
    assert sorted(distinct(by_overlap(ours, PARAMS), "overlap")) == [0.0, 0.5, 1.0]
    through = [row for row in ours if row["setting"] in ("clean", "adaptive-knn")]
    assert_drawn(fourth, [*through, *matching(chosen, defense="none")])
    assert second.get_xscale() == "log"
    assert legend_texts(first) == [["PGD", "PGD-PR", "PGD-FS"], ["no defence, PGD"]]
    # Attacks by their marker and line, budgets by their colour.
    assert legend_texts(third) == [["PGD-FS", "Soft retrieval", "clean"], ["Δ = 0.02", "Δ = 0.06"]]
    looks = {
        (line.get_color(), line.get_linestyle(), line.get_marker()) for line in third.lines if len(line.get_xdata()) > 2
    }
    assert [len({look[place] for look in looks}) for place in (0, 1, 2)] == [2, 2, 2]
    assert len(looks) == 4


def test_figure_6_leaves_out_panels_without_rows(rows):
    fewer = [row for row in rows if "overlap" not in row["setting"] and "adaptive" not in row["setting"]]
    figure = draw_fig6(select_fig6(fewer, PARAMS), PARAMS)
    assert [axes.get_title() for axes in figure.axes] == [
        "(a) The paper's white box",
        "(b) First images of the database",
    ]


def test_figure_6_shows_the_ablated_attack_that_is_configured(rows):
    """`ablated: pgd_pr` has panels b and c, and its attack needs no place among those with the whole database."""
    swapped = {"pgd_fs": "pgd_pr", "pgd_pr": "pgd_fs"}
    turned = [{**row, "attack": swapped.get(row["attack"], row["attack"])} for row in rows]
    for attacks in (["pgd_pr", "pgd_fs"], ["pgd_fs"]):
        params = PARAMS | {"white_box": {"pool": "Targeted", "attacks": attacks, "ablated": ["pgd_pr"], "through": []}}
        chosen = select_fig6(turned, params)
        figure = draw_fig6(chosen, params)
        titles = ["The paper's white box", "First images of the database", "Overlap of the databases"]
        assert [axes.get_title()[4:] for axes in figure.axes] == titles
        assert legend_texts(figure.axes[1]) == [["PGD-PR", "clean"], ["Δ = 0.02", "Δ = 0.06"]]
        assert sorted(distinct(by_attack_size(matching(chosen, defense="knn"), params), "attack_size")) == [
            500,
            1000,
            4000,
        ]
        assert_drawn(figure.axes[2], by_overlap(matching(chosen, defense="knn"), params))


def test_every_attack_has_a_line_in_each_panel(rows):
    # Another accuracy for every attack, so that no line hides another.
    moved = [{**row, "accuracy": row["accuracy"] * 0.99 ** PARAMS["attacks"].index(row["attack"])}
             if row["attack"] in PARAMS["attacks"] else row for row in rows]  # fmt: skip
    chosen = select_attacks(moved, PARAMS)
    assert {row["attack"] for row in chosen} == {"none", "pgd", "fgsm", "cw"}
    ours = matching(chosen, defense="knn")
    assert {(row["pool"], row["size"], row["features"], row["neighbors"]) for row in ours} == {
        ("Targeted", 4000, "conv_4_1", 50)
    }
    figure = draw_attacks(chosen, PARAMS)
    panels = [(setting, defense) for setting in ("gray_box", "black_box") for defense in ("none", "knn")]
    assert len(figure.axes) == 4
    for axes, (setting, defense) in zip(figure.axes, panels, strict=True):
        assert_drawn(axes, [row for row in matching(chosen, defense=defense) if row["setting"] in ("clean", setting)])
        assert len(axes.lines) == 3
    assert figure.axes[1].get_title() == "Targeted-4k, gray box"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["PGD", "FGSM", "CW-L2"]


@pytest.mark.parametrize(
    ("select", "text"),
    [
        (select_fig3, "figure 3"),
        (select_fig4, "figure 4"),
        (select_fig5, "figure 5"),
        (select_fig6, "figure 6"),
        (select_attacks, "figure attacks"),
    ],
)
def test_figures_without_rows_say_so(rows, select, text):
    with pytest.raises(InputError, match=text):
        select(matching(rows, setting="clean"), PARAMS)


@pytest.mark.parametrize(("pool", "sizes"), [("All", {4000, 500}), ("Train", {2000})])
def test_figures_show_the_pool_of_the_parameters(rows, pool, sizes):
    params = PARAMS | {"pool": pool}
    assert {(row["pool"], row["size"]) for row in matching(select_fig3(rows, params), defense="knn")} == {
        (pool, size) for size in sizes
    }
    assert set(distinct(matching(select_fig4(rows, params), defense="knn"), "pool")) == {pool}
    draw_fig3(select_fig3(rows, params), params)


def test_figures_with_equal_rows_have_equal_bytes(rows):
    chosen = select_fig6(rows, PARAMS)
    first, second = (figure_bytes(draw_fig6(chosen, PARAMS), "pdf") for _ in range(2))
    assert first == second


# -- Figure 2


def neighborhood(name: str, predicted: str, side: int, seed: int) -> Neighborhood:
    images = np.random.default_rng(seed).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    classes = ["fish", "star", "a class with a very long name", "fish", "boat"]
    return Neighborhood(
        name, 0.04, images[0] / 255, predicted, [10, 11, 12, 13, 14], images[1:], classes, [9.0, 0.02, 1, 2, 3],
        [1, 2, 3, 4, 5.678], "star", 0.625,
    )  # fmt: skip


@pytest.mark.parametrize("side", [32, 224])
def test_figure_2_shows_every_image_class_weight_and_distance(side):
    rows = [neighborhood("Clean", "fish", side, 0), neighborhood("PGD", "boat", side, 1)]
    figure = draw(rows, "fish", PARAMS)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    expected = [image for row in rows for image in (row.image, *row.neighbors)]
    assert len(shown) == 12
    assert all(np.array_equal(image, wanted) for image, wanted in zip(shown, expected, strict=True))
    titles = [axes.title for axes in figure.axes if axes.images]
    assert [title.get_text() for title in titles[:3]] == ["fish", "fish", "star"]
    assert [title.get_fontweight() for title in titles[:3]] == ["bold", "bold", "normal"]
    assert len(titles[3].get_text()) == 17
    assert [axes for axes in figure.axes if axes.images][-1].get_xlabel() == "w 3.00   d 5.68"
    votes = [[text.get_text() for text in axes.texts] for axes in figure.axes if axes.texts]
    assert votes == [["the vote", "star", "0.62"]] * 2
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["Clean", "PGD"]


def test_figure_2_needs_neighbours():
    row = neighborhood("Clean", "fish", 8, 0)
    empty = Neighborhood("x", 0.0, row.image, "fish", [], row.neighbors[:0], [], [], [], "fish", 1.0)
    for rows in ([row, empty], [empty], []):
        with pytest.raises(InputError, match="figure 2"):
            draw(rows, "fish", PARAMS)


def test_an_image_is_shown_that_the_attack_fools_and_the_vote_does_not():
    labels = np.array([0, 1, 2, 3])
    clean, attacked = np.array([1, 1, 2, 3]), np.array([0, 1, 0, 0])
    assert choose_query(labels, [clean, labels, attacked]) == 2
    assert choose_query(labels, [clean, labels, attacked], np.array([0, 0, 0, 3])) == 3
    assert choose_query(labels, [clean, labels, attacked], np.array([0, 0, 0, 0])) == 2
    assert choose_query(labels, [clean, labels]) == 1
    assert choose_query(labels, [labels + 1, labels]) == 0


def test_figure_2_as_rows():
    (queries,) = Pack.parse("raw01/gray_box/pgd/eps-0.04")
    row = neighborhood(query_title(queries, PARAMS), "boat", 8, 0)
    assert row.name == "PGD\ngray box\nΔ = 0.04"
    table = sheet_rows([row], "fish")
    assert [entry["database_row"] for entry in table] == [10, 11, 12, 13, 14]
    assert table[1] == {
        "queries": "PGD gray box Δ = 0.04", "epsilon": 0.04, "label": "fish", "predicted": "boat", "rank": 2,
        "database_row": 11, "neighbor_predicted": "star", "weight": 0.02, "distance": 2.0,
    }  # fmt: skip
