"""What figures of accuracies have in common: chance, whole axes, legends, what was tested, a variant for a column."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.legend import Legend

from nndefense.report.curves import fit_accuracy, tell_tested
from nndefense.report.doubts import noted
from nndefense.report.figures.attacks import draw_attacks, select_attacks
from nndefense.report.figures.fig3 import draw_fig3, select_fig3
from nndefense.report.figures.fig4 import draw_fig4, select_fig4
from nndefense.report.figures.fig5 import draw_fig5, select_fig5
from nndefense.report.figures.fig6 import draw_fig6, select_fig6
from nndefense.report.legends import handle, legends_below
from nndefense.report.piece import Made
from nndefense.report.style import figure_bytes, new_figure

from .synthetic import PARAMS, accuracy_rows

DRAWN = {
    "fig3": (select_fig3, draw_fig3),
    "fig4": (select_fig4, draw_fig4),
    "fig5": (select_fig5, draw_fig5),
    "fig6": (select_fig6, draw_fig6),
    "attacks": (select_attacks, draw_attacks),
}


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return accuracy_rows(n=500)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", DRAWN)
def test_every_panel_has_chance_and_a_whole_axis_and_the_figure_says_what_was_tested(rows, name):
    select, draw_rows = DRAWN[name]
    figure = draw_rows(select(rows, PARAMS), PARAMS | {"classes": 10})
    more = "; defence with Targeted-4k" if name == "fig6" else ""
    assert figure.get_suptitle() == f"resnet20; n = 500 test images{more}"
    for axes in figure.axes:
        assert axes.get_ylim() == (0, 1)
        assert axes.get_yticks()[-1] == 1
        (chance,) = [line for line in axes.lines if list(line.get_xdata()) == [0, 1] and line.get_ydata()[0] == 0.1]
        assert chance.is_dashed()
        assert not any(line.get_clip_on() for line in axes.lines if line.get_marker() not in ("None", None))
    legends = [legend for place in (figure, *figure.axes) for legend in place.findobj(Legend)]
    assert "chance, 1 / 10" in [text.get_text() for legend in legends for text in legend.get_texts()]


def test_legends_beside_the_panels_stand_below_each_other_within_the_figure(rows):
    figure = draw_fig5(select_fig5(rows, PARAMS), PARAMS)
    figure.canvas.draw()
    upper, lower = (legend.get_window_extent() for legend in figure.legends)
    assert lower.y1 <= upper.y0
    assert lower.x0 == pytest.approx(upper.x0)
    assert max(axes.get_window_extent().x1 for axes in figure.axes) <= upper.x0
    assert max(upper.x1, lower.x1) <= figure.bbox.x1


@pytest.mark.parametrize(
    ("highest", "top"), [(0.96, 1), (0.51, 1), (0.5, 0.5), (0.37, 0.4), (0.21, 0.3), (0.13, 0.2), (0.02, 0.1)]
)
def test_a_low_axis_ends_at_a_tick_that_says_so(highest, top):
    _, axes = plt.subplots()
    fit_accuracy(axes, [{"ci_high": highest}, {"ci_high": 0.01}])
    assert axes.get_ylim() == (0, pytest.approx(top))
    ticks = list(axes.get_yticks())
    assert ticks[-1] == pytest.approx(top)
    assert all(len(f"{tick:.10g}") <= 5 for tick in ticks)


def test_what_was_tested_is_told_in_a_line():
    figure = plt.figure()
    rows = [{"model": f"net{number}", "n": 100 * number} for number in range(1, 6)]
    tell_tested(figure, rows[:2])
    assert figure.get_suptitle() == "net1, net2; n = 200 and 100 test images"
    tell_tested(figure, rows)
    assert figure.get_suptitle() == "5 networks; n = 100 to 500 test images"


IDLE = {"attack": "pgd", "setting": "gray_box", "epsilon": 0.06, "space": "raw01", "idle": 500, "n": 1000}


@pytest.mark.parametrize("below", [True, False])
def test_a_note_stands_below_the_legends(below):
    """Whatever of the two is drawn first."""
    figure, (axes,) = new_figure(4, 3)
    axes.set_xlabel("x")
    entries = [handle(f"a line of many letters {number}") for number in range(3)]
    if below:
        legends_below(figure, ("Title", entries), columns=3)
    height = figure.get_figheight()
    made = noted(Made([IDLE], figure=figure), {})
    figure.canvas.draw()
    note = next(text for text in figure.texts if text.get_text().startswith("void"))
    assert figure.get_figheight() > height
    lowest = min([axes.xaxis.label, *figure.legends], key=lambda one: one.get_window_extent().y0)
    assert isinstance(lowest, Legend) == below
    assert 0 <= note.get_window_extent().y0 < note.get_window_extent().y1 < lowest.get_window_extent().y0
    if below:
        # Three do not fit into one line.
        assert figure.legends[0]._ncols == 1
        assert figure.legends[0].get_window_extent().y1 < axes.xaxis.label.get_window_extent().y0
    assert figure_bytes(made.figure, "png")
