"""Figures 2, 3, 4, 6 and their like draw every row's accuracy and interval."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from nndefense.errors import InputError
from nndefense.report.fig2 import Neighborhood, choose_query, draw_fig2, query_title, sheet_rows
from nndefense.report.fig3 import draw_fig3, select_fig3, two_sizes
from nndefense.report.fig4 import draw_fig4, select_fig4
from nndefense.report.fig5 import draw_fig5, select_fig5
from nndefense.report.fig6 import by_overlap, by_size, draw_fig6, select_fig6
from nndefense.report.select import distinct, matching
from nndefense.report.style import figure_bytes
from nndefense.retrieval.queries import query_axes

from .synthetic import BASE, NEIGHBORS, accuracy_rows


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


@pytest.mark.parametrize("attack", ["pgd", "fgsm", "cw"])
def test_figure_3_has_a_line_per_k_and_size(rows, attack):
    base = BASE | {"attack": attack}
    chosen = select_fig3(rows, base)
    ours = matching(chosen, defense="knn")
    assert {row["attack"] for row in chosen} == {"none", attack}
    assert {row["setting"] for row in chosen} == {"clean", "black_box"}
    assert {(row["pool"], row["size"], row["features"]) for row in ours} == {
        ("Targeted", 4000, "conv_4_1"),
        ("Targeted", 500, "conv_4_1"),
    }
    figure = draw_fig3(chosen, base)
    (axes,) = figure.axes
    assert_drawn(axes, chosen)
    styles = [line.get_linestyle() for line in axes.lines]
    assert (styles.count("-"), styles.count("--"), styles.count(":")) == (len(NEIGHBORS), len(NEIGHBORS), 1)
    large = matching(ours, size=4000, neighbors=10)
    (solid,) = [line for line in axes.lines if list(line.get_ydata()) == [row["accuracy"] for row in large]]
    assert solid.get_linestyle() == "-"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [*(f"K = {k}" for k in NEIGHBORS), "Targeted-4k", "Targeted-500", "no defence"]


def test_figure_3_takes_the_size_nearest_to_a_tenth():
    sizes = [{"size": size} for size in (500, 1000, 2000, 4000, 8000)]
    assert two_sizes(sizes) == [8000, 1000]
    assert two_sizes(sizes[:1]) == [500]


@pytest.mark.parametrize("attack", ["pgd", "cw"])
def test_figure_4_has_a_line_per_layer_and_a_panel_per_setting(rows, attack):
    base = BASE | {"attack": attack}
    chosen = select_fig4(rows, base)
    assert {row["size"] for row in matching(chosen, defense="knn")} == {4000}
    assert distinct(matching(chosen, defense="knn"), "features") == ["conv_2_1", "conv_3_1", "conv_4_1"]
    figure = draw_fig4(chosen, base)
    assert [axes.get_title() for axes in figure.axes] == ["Gray box", "Black box"]
    for axes, setting in zip(figure.axes, ("gray_box", "black_box"), strict=True):
        assert_drawn(axes, [row for row in chosen if row["setting"] in ("clean", setting)])
        assert len(axes.lines) == 4


@pytest.mark.parametrize("attack", ["fgsm", "cw"])
def test_figures_9_and_10_are_figure_5_under_other_attacks(rows, attack):
    base = BASE | {"attack": attack}
    chosen = select_fig5(rows, base)
    assert {row["attack"] for row in chosen} == {"none", attack}
    figure = draw_fig5(chosen, base)
    assert figure.legends[0].get_title().get_text() == {"fgsm": "FGSM", "cw": "CW-L2"}[attack]
    for axes, setting in zip(figure.axes, ("gray_box", "black_box"), strict=True):
        knn = [row for row in matching(chosen, defense="knn") if row["setting"] in ("clean", setting)]
        assert_drawn(axes, knn)


def test_figure_6_has_three_panels_on_one_defence(rows):
    chosen = select_fig6(rows, BASE)
    ours = matching(chosen, defense="knn")
    assert {(row["pool"], row["size"]) for row in ours} == {("Targeted", 4000)}
    figure = draw_fig6(chosen, BASE)
    first, second, third = figure.axes
    same = [row for row in ours if row["setting"] in ("clean", "gray_box", "white_box-Targeted-4000")]
    assert_drawn(first, [*same, *matching(chosen, defense="none")])
    clean = matching(chosen, setting="clean", defense="knn")
    assert_drawn(second, [*by_size(ours), *clean])
    assert_drawn(third, [*by_overlap(ours), *clean])
    assert sorted(distinct(by_size(ours), "attack_size")) == [500, 1000, 4000]
    assert sorted(distinct(by_overlap(ours), "overlap")) == [0.0, 0.5, 1.0]
    assert second.get_xscale() == "log"
    labels = [text.get_text() for text in first.get_legend().get_texts()]
    assert labels == ["PGD", "PGD-PR", "PGD-FS", "no defence, PGD"]


def test_figure_6_leaves_out_panels_without_rows(rows):
    fewer = [row for row in rows if "overlap" not in row["setting"]]
    figure = draw_fig6(select_fig6(fewer, BASE), BASE)
    assert [axes.get_title() for axes in figure.axes] == ["(a) White box", "(b) PGD-FS"]


@pytest.mark.parametrize(
    ("select", "text"),
    [(select_fig3, "figure 3"), (select_fig4, "figure 4"), (select_fig5, "figure 5"), (select_fig6, "figure 6")],
)
def test_figures_without_rows_say_so(rows, select, text):
    with pytest.raises(InputError, match=text):
        select(matching(rows, setting="clean"), BASE)


def test_figures_with_equal_rows_have_equal_bytes(rows):
    chosen = select_fig6(rows, BASE)
    first, second = (figure_bytes(draw_fig6(chosen, BASE), "pdf") for _ in range(2))
    assert first == second


# -- Figure 2


def neighborhood(name: str, predicted: str, side: int, seed: int) -> Neighborhood:
    images = np.random.default_rng(seed).integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    classes = ["fish", "star", "a class with a very long name", "fish", "boat"]
    return Neighborhood(
        name, images[0] / 255, predicted, images[1:], classes, [9.0, 0.02, 1, 2, 3], [1, 2, 3, 4, 5.678]
    )


@pytest.mark.parametrize("side", [32, 224])
def test_figure_2_shows_every_image_class_weight_and_distance(side):
    rows = [neighborhood("Clean", "fish", side, 0), neighborhood("PGD", "boat", side, 1)]
    figure = draw_fig2(rows, "fish", "CBW-D")
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    expected = [image for row in rows for image in (row.image, *row.neighbors)]
    assert len(shown) == 12
    assert all(np.array_equal(image, wanted) for image, wanted in zip(shown, expected, strict=True))
    titles = [axes.title for axes in figure.axes if axes.images]
    assert [title.get_text() for title in titles[:3]] == ["fish", "fish", "star"]
    assert [title.get_fontweight() for title in titles[:3]] == ["bold", "bold", "normal"]
    assert len(titles[3].get_text()) == 17
    assert figure.axes[-1].get_xlabel() == "w 3.00   d 5.68"
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["Clean", "PGD"]


def test_figure_2_needs_neighbours():
    row = neighborhood("Clean", "fish", 8, 0)
    empty = Neighborhood("x", row.image, "fish", row.neighbors[:0], [], [], [])
    for rows in ([row, empty], [empty], []):
        with pytest.raises(InputError, match="figure 2"):
            draw_fig2(rows, "fish", "CBW-D")


def test_figure_2_takes_an_image_that_the_attack_fools():
    labels = np.array([0, 1, 2, 3])
    clean, attacked = np.array([1, 1, 2, 3]), np.array([0, 1, 0, 3])
    assert choose_query(labels, [clean, labels, attacked]) == 2
    assert choose_query(labels, [clean, labels]) == 1
    assert choose_query(labels, [labels + 1, labels]) == 0


def test_figure_2_as_rows():
    about = query_axes("raw01/gray_box/pgd/eps-0.04")
    row = neighborhood(query_title(about), "boat", 8, 0)
    assert row.name == "PGD\ngray box\nΔ = 0.04"
    table = sheet_rows([row], [about], np.arange(10, 15)[None], "fish")
    assert [entry["database_row"] for entry in table] == [10, 11, 12, 13, 14]
    assert table[1] == {
        "queries": "PGD gray box Δ = 0.04", "epsilon": 0.04, "label": "fish", "predicted": "boat", "rank": 2,
        "database_row": 11, "neighbor_predicted": "star", "weight": 0.02, "distance": 2.0,
    }  # fmt: skip
