"""Figures for a column of a paper: as wide as it, readable, of the same rows, and declared once."""

import itertools
import re

import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nndefense.core.errors import InputError
from nndefense.evaluation.rows import COLUMNS, format_rows
from nndefense.report.pieces import existing, load_piece, narrowed, piece_target
from nndefense.report.style import COLUMN, MANY, SMALLEST, figure_bytes, is_narrow, label_panels, narrow, new_figure

from . import text_cases
from .synthetic import PARAMS, accuracy_rows
from .test_index_report import measured  # noqa: F401
from .test_report_certified import path  # noqa: F401
from .test_report_dictionary_figures import answers, compared  # noqa: F401
from .test_report_pieces import DEFAULT, illustrated, run  # noqa: F401
from .test_text_pieces import FIGURES

ONCE = [name for name in FIGURES if name not in ("fig7", "fig8", "fig9", "fig10", "fig11", "fig12")]


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def cases(tmp_path, request, monkeypatch) -> text_cases.Cases:
    """Makes pieces with names as they are in configurations."""
    monkeypatch.setattr(text_cases, "named", lambda params: params | {"classes": 10})
    monkeypatch.setattr(text_cases, "relabelled", lambda rows: rows)
    monkeypatch.setattr(text_cases, "SHORT", "class ")
    monkeypatch.setattr(text_cases, "HOSTILE", "vit_b@blocks_9")
    text_cases.accuracy_text.cache_clear()
    yield text_cases.Cases(tmp_path, request)
    text_cases.accuracy_text.cache_clear()


def overlap(one: Bbox, other: Bbox) -> float:
    """By how many points boxes overlap, in the direction in which they do less."""
    both = Bbox.intersection(one, other)
    return min(both.width, both.height) if both else 0.0


def own_legends(panel: Axes) -> list[Bbox]:
    return [one.get_window_extent() for one in panel.get_children() if isinstance(one, Legend)]


@pytest.mark.parametrize("name", ONCE)
def test_every_figure_fits_into_a_column(cases, name):
    wide = cases.make(name)
    with narrow():
        made = cases.make(name)
        made.figure.draw_without_rendering()
    assert format_rows(made.rows, made.columns) == format_rows(wide.rows, wide.columns)
    figure = made.figure
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    figure_bytes(figure, "pdf")
    figure.draw_without_rendering()
    room = figure.bbox.padded(2)
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and text.figure is not None:
            assert text.get_fontsize() >= SMALLEST, text
    for panel in figure.axes:
        box = panel.get_tightbbox()
        assert room.x0 <= box.x0 < box.x1 <= room.x1, panel
        assert room.y0 <= box.y0 < box.y1 <= room.y1, panel
    boxes = [Bbox.union([panel.get_tightbbox(), *own_legends(panel)]) for panel in figure.axes]
    assert not [pair for pair in itertools.combinations(boxes, 2) if overlap(*pair) > 2]
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert room.x0 <= box.x0 < box.x1 <= room.x1
        assert room.y0 <= box.y0 < box.y1 <= min(panel.get_tightbbox().y0 for panel in figure.axes) + 2


def test_panels_stand_below_each_other_and_many_in_pairs():
    with narrow():
        few, panels = new_figure(9, 3, 3, 2, count=MANY, sharex=True)
        label_panels(panels, "y", "x")
        many, pairs = new_figure(9, 3, 4, 2, count=MANY + 2, sharex=True)
        label_panels(pairs, "y", "x")
    for figure, axes, across in ((few, panels, 1), (many, pairs, 2)):
        assert figure.get_figwidth() == COLUMN
        grid = axes[0].get_subplotspec().get_gridspec()
        assert (grid.nrows, grid.ncols) == (-(-len(axes) // across), across)
        assert [bool(one.get_ylabel()) for one in axes] == [place % across == 0 for place in range(len(axes))]
        assert [bool(one.get_xlabel()) for one in axes] == [place >= len(axes) - across for place in range(len(axes))]
    assert len(few.axes) == MANY
    assert len(many.axes) == MANY + 2


def test_what_is_drawn_afterwards_is_as_wide_as_ever():
    before = dict(plt.rcParams)

    def fails():
        assert is_narrow()
        load_piece("fig99")

    with pytest.raises(InputError), narrow():
        fails()
    assert not is_narrow()
    assert dict(plt.rcParams) == before
    assert new_figure(4, 3)[0].get_figwidth() == 4


def test_it_is_declared_with_its_figure():
    wide, one = load_piece("fig5"), load_piece("fig5_narrow")
    assert (one.name, one.kind, one.heading) == ("fig5_narrow", "figure", "Figure 5, for a column")
    assert one.files(DEFAULT) == wide.files(DEFAULT)
    assert one.params(DEFAULT) == wide.params(DEFAULT)
    assert piece_target("fig5_narrow") == piece_target("fig5")
    assert narrowed(load_piece("srd/fig")).word == "srd_fig_narrow"
    # None of the report's.
    assert not [piece for piece in existing(DEFAULT) if piece.name.endswith("_narrow")]
    with pytest.raises(InputError, match="'table1_narrow' would be a table"):
        load_piece("table1_narrow")
    with pytest.raises(InputError, match="'fig99_narrow' is unknown; allowed: fig_adaptive"):
        load_piece("fig99_narrow")


def test_the_script_draws_it_with_the_rows_of_the_figure(tmp_path):
    rows = accuracy_rows(n=50)
    (tmp_path / "rows.csv").write_text(format_rows(rows, COLUMNS), encoding="utf-8", newline="")
    for name in ("fig5", "fig5_narrow"):
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("csv", "pdf", "png", "log")}
        done = run("plot_figure", piece=name, params=PARAMS | {"classes": 10}, files=[tmp_path / "rows.csv"],
                   roles=["rows"], **outputs)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "fig5.csv").read_bytes() == (tmp_path / "fig5_narrow.csv").read_bytes()
    (width,) = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+)", (tmp_path / "fig5_narrow.pdf").read_bytes())
    assert float(width) == pytest.approx(72 * COLUMN)
    with narrow():
        figure = load_piece("fig5").make({"rows": [str(tmp_path / "rows.csv")]}, PARAMS | {"classes": 10}).figure
        figure.draw_without_rendering()
    assert figure_bytes(figure, "pdf") == (tmp_path / "fig5_narrow.pdf").read_bytes()
