"""Tables and figures show the rows they should, with their intervals."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nndefense.axes.queries import Pack
from nndefense.core.errors import FileFault, InputError
from nndefense.evaluation.rows import AXES, accuracy_row, format_rows, read_rows, write_rows
from nndefense.report.figures.fig5 import draw_fig5, select_fig5
from nndefense.report.names import thousands
from nndefense.report.select import only
from nndefense.report.sheet import arrange, choose_rows
from nndefense.report.style import figure_bytes, shades
from nndefense.report.tables.table1 import as_latex, as_markdown, select_table1

from .synthetic import PARAMS

QUERIES = ["clean", *(f"raw01/{s}/pgd/eps-{e}" for s in ("gray_box", "black_box") for e in ("0.02", "0.06"))]


def make_row(correct: int, **axes) -> dict:
    labels = np.zeros(100, dtype=int)
    predictions = (np.arange(100) >= correct).astype(int)
    return accuracy_row(predictions, labels, dataset="shapes", seed=1, model="resnet20", **axes)


@pytest.fixture
def rows() -> list[dict]:
    made = []
    for place, name in enumerate(QUERIES):
        queries = next(iter(Pack.parse(name))).columns()
        nothing = dict.fromkeys(("pool", "features", "weighting", "combination", "defense"), "none")
        made.append(make_row(80 - 15 * place, size=0, neighbors=0, **nothing, **queries))
        for pool, size, k, weighting, combination in itertools.product(
            ("All", "Targeted"), (500, 1000), (10, 50), ("UW", "CBW-E", "CBW-D"), ("soft", "hard")
        ):
            correct = 40 - 5 * place + (pool == "Targeted") + 2 * (size == 1000) + 3 * (weighting == "CBW-D")
            axes = {"pool": pool, "size": size, "neighbors": k, "weighting": weighting, "combination": combination}
            made.append(make_row(correct, features="conv_4_1", defense="knn", **axes, **queries))
        made.append(
            make_row(39, features="conv_4_1", defense="knn", pool="Train", size=700, neighbors=50, weighting="CBW-D",
                     combination="soft", **queries)
        )  # fmt: skip
    return made


def test_rows_survive_a_csv(rows, tmp_path):
    write_rows(tmp_path / "rows.csv", rows)
    read = read_rows(tmp_path / "rows.csv")
    assert [[row[axis] for axis in AXES] for row in read] == [[row[axis] for axis in AXES] for row in rows]
    assert format_rows(read) == format_rows(rows)


def test_damaged_rows_name_the_file(rows, tmp_path):
    path = tmp_path / "rows.csv"
    write_rows(path, rows)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(FileFault, match=r"rows\.csv"):
        read_rows(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FileFault, match="columns"):
        read_rows(path)


def test_figure_5_selects_base_values_and_pools_of_several_sizes(rows):
    chosen = select_fig5(rows, PARAMS)
    defended = [row for row in chosen if row["defense"] == "knn"]
    assert {(row["neighbors"], row["weighting"], row["combination"]) for row in defended} == {(50, "CBW-D", "soft")}
    assert {row["pool"] for row in defended} == {"All", "Targeted"}
    assert len(defended) == len(QUERIES) * 2 * 2
    assert len(chosen) - len(defended) == len(QUERIES)


def test_figure_5_draws_every_accuracy_and_interval(rows):
    chosen = select_fig5(rows, PARAMS)
    figure = draw_fig5(chosen, PARAMS)
    panels = figure.axes
    assert [axes.get_title() for axes in panels] == ["Gray box", "Black box"]
    for axes, setting in zip(panels, ("gray_box", "black_box"), strict=True):
        shown = [row for row in chosen if row["setting"] in ("clean", setting)]
        drawn = {round(y, 6) for line in axes.lines for y in line.get_ydata() if 0 < y < 1}
        assert {round(row["accuracy"], 6) for row in shown if row["accuracy"] > 0} <= drawn
        lines = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() != "None"]
        assert {line.get_linestyle() for line in lines} == {"-", "--"}
        bands = {
            round(float(y), 6) for band in axes.collections for path in band.get_paths() for y in path.vertices[:, 1]
        }
        knn = [row for row in shown if row["defense"] == "knn"]
        assert {round(row[end], 6) for row in knn for end in ("ci_low", "ci_high")} <= bands
        assert axes.get_xscale() == "log"
    plt.close(figure)


def test_figure_5_needs_more_than_one_size(rows):
    with pytest.raises(InputError, match="no pool has more than one size"):
        select_fig5([row for row in rows if row["size"] in (0, 500, 700)], PARAMS)


def test_figures_with_equal_data_have_equal_bytes(rows):
    chosen = select_fig5(rows, PARAMS)
    for kind in ("pdf", "png"):
        first, second = (figure_bytes(draw_fig5(chosen, PARAMS), kind) for _ in range(2))
        assert first == second
    plt.close("all")


def test_colours_keep_their_order_in_grey():
    grey = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b, _ in shades(6)]
    assert grey == sorted(grey, reverse=True)
    assert min(light - dark for light, dark in itertools.pairwise(grey)) > 0.05


def test_table_1_has_the_papers_shape(rows):
    chosen = select_table1(rows, PARAMS)
    assert {row["size"] for row in chosen if row["pool"] in ("All", "Targeted")} == {1000}
    assert {row["epsilon"] for row in chosen} == {0.0, 0.06}
    model = {"name": "resnet20", "architecture": "cifar_resnet20", "accuracy": 0.9, "ci_low": 0.8, "ci_high": 0.95}
    provenance = {"trained_on": "shapes_train", "images": 6000}
    text = as_markdown(chosen, PARAMS, [{**model, "n": 100, "provenance": provenance}])
    lines = text.splitlines()
    header = next(line for line in lines if line.startswith("| Database"))
    assert header.count("|") == 11
    assert [cell.strip() for cell in header.split("|")[2:5]] == ["Clean UW", "Clean CBW-E", "Clean CBW-D"]
    first = only(chosen, pool="Targeted", setting="clean", weighting="CBW-D")
    cell = f"{first['accuracy']:.3f} [{first['ci_low']:.3f}, {first['ci_high']:.3f}]"
    assert any(line.startswith("| Targeted-1k (conv_4_1)") and f"| {cell} |" in line for line in lines)
    assert "**" not in text, "with 100 images no database is better than another beyond noise"
    assert "n = 100" in text
    assert "trained here on 6,000 images of shapes_train" in text
    assert any(line.startswith("| No defence | 0.800 [") for line in lines)
    latex = as_latex(chosen, PARAMS)
    assert latex.count("\\multicolumn{3}{c}") == 3
    assert "Targeted-1k (conv\\_4\\_1)" in latex


def test_only_counts_what_it_finds(rows):
    with pytest.raises(InputError, match="0 rows have"):
        only(rows, pool="Nothing")


@pytest.mark.parametrize(("number", "text"), [(500, "500"), (2000, "2k"), (12500, "12.5k"), (1e9, "1B")])
def test_sizes_in_words(number, text):
    assert thousands(number) == text


def test_contact_sheet_shows_each_tag_in_a_row():
    tags = np.array(["fish", "star", "fish", "", "star", "fish"])
    chosen = choose_rows(tags, columns=2, limit=3)
    assert [(tag, rows.tolist()) for tag, rows in chosen] == [("untagged", [3]), ("fish", [0, 2]), ("star", [1, 4])]
    images = [np.full((len(rows), 4, 4, 3), place, np.uint8) for place, (_, rows) in enumerate(chosen)]
    sheet = arrange(images, gap=1)
    assert sheet.shape == (14, 9, 3)
    assert (sheet[5:9, 5:9] == 1).all()
    assert (sheet[0:4, 5:9] == 255).all()
