"""Tables 1 to 4 hold the right cells, and the paper's are marked as the paper's."""

import pytest

from nndefense.core.errors import InputError
from nndefense.evaluation.base import Kind
from nndefense.evaluation.rows import AXES, format_rows
from nndefense.report.grid import accuracy_text, best_cells, latex_table
from nndefense.report.markup import latex, latex_comment, markdown_table
from nndefense.report.select import matching, only
from nndefense.report.tables import table1, table2, table4
from nndefense.report.tables.kinds import kind_piece
from nndefense.report.tables.table3 import COLUMNS, SIZES, as_latex, as_markdown, differences, paper_sizes, table3_rows

from .synthetic import PARAMS, WEIGHTINGS, accuracy_rows

# A kind of its own: what it measures is not asked here.
CERTIFIED = Kind(("certified", "radius_50"), lambda answers: [])


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return accuracy_rows(n=200)


def cells(text: str, first: str) -> list[str]:
    """Cells of the Markdown table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip().strip("*") for cell in line.split("|")[2:-1]]


def find(rows: list[dict], pool: str, **axes) -> dict:
    """The base row of a pool's largest size."""
    wanted = {"features": "conv_4_1", "weighting": "CBW-D", "combination": "soft", "neighbors": 50} | axes
    size = max(row["size"] for row in matching(rows, pool=pool))
    attack = {"attack": "none", "epsilon": 0.0} if axes["setting"] == "clean" else {"attack": "pgd", "epsilon": 0.06}
    return only(rows, pool=pool, size=size, **wanted, **attack)


def test_table_1_stands_above_the_papers(rows):
    text = table1.as_markdown(table1.select_table1(rows, PARAMS), PARAMS, [])
    columns = [(setting, weighting) for setting in ("clean", "gray_box", "black_box") for weighting in WEIGHTINGS]
    for name, pool, end in (("Train-2k", "Train", ""), ("Targeted-4k", "Targeted", "-RMAC")):
        found = cells(text, f"{name} (conv_4_1{end})")
        wanted = [find(rows, pool, features=f"conv_4_1{end}", setting=s, weighting=w) for s, w in columns]
        assert found == [accuracy_text(row) for row in wanted]
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert order.index("*Paper (ImageNet, ResNet-50):*") < order.index("*IN-1.3M (conv_5_1)*") == len(order) - 1
    assert cells(text, "*IG-1B-Targeted (conv_5_1)*")[:3] == ["0.659", "0.664", "0.681"]
    latex = table1.as_latex(table1.select_table1(rows, PARAMS), PARAMS)
    assert latex.index("\\emph{Paper (ImageNet, ResNet-50)}") < latex.index("IN-1.3M")


def test_table_2_holds_every_defence_beside_the_papers(rows):
    chosen = table2.select_table2(rows, PARAMS)
    text = table2.as_markdown(chosen, PARAMS)
    settings = ("clean", "gray_box", "black_box")
    found = cells(text, "knn Targeted-4k (conv_4_1)")
    assert found[0] == "200"
    assert found[1:4] == [accuracy_text(find(rows, "Targeted", setting=setting)) for setting in settings]
    assert found[4:] == ["IG-1B-Targeted (conv_5_1)", "0.681", "0.462", "0.587"]
    assert cells(text, "No defence")[4:] == ["No defence", "0.761", "0.038", "0.046"]
    quilting = cells(text, "Image quilting")
    assert [cell[:5] for cell in quilting] == ["200", "0.410", "0.380", "0.660", "Image", "0.414", "0.379", "0.618"]
    assert cells(text, "ALP")[4] == "ALP"
    assert any(line.startswith("|  |") and "*TV minimisation* | *0.635*" in line for line in text.splitlines())
    assert {row["weighting"] for row in chosen if row["defense"] == "knn"} == {"CBW-D"}
    latex = table2.as_latex(chosen, PARAMS)
    assert "knn Targeted-4k (conv\\_4\\_1)" in latex
    assert latex.index("No defence & 0.800") < latex.index("\\emph{Paper") < latex.index("No defence & 0.761")


def test_table_2_marks_the_best_defence_and_not_the_undefended_model(rows):
    text = table2.as_markdown(table2.select_table2(rows, PARAMS), PARAMS)
    best = find(rows, "Targeted", setting="clean")
    assert f"| {accuracy_text(best)} |" in text, "with 200 images the database is not the best beyond noise"
    assert "| No defence | 200 | 0.800 [" in text
    clear = [row | {"ci_low": row["accuracy"] - 0.001, "ci_high": row["accuracy"] + 0.001} for row in rows]
    text = table2.as_markdown(table2.select_table2(clear, PARAMS), PARAMS)
    found = find(clear, "Targeted", setting="clean")
    assert f"**{accuracy_text(found)}**" in text
    assert "**0.800" not in text


def test_table_2_has_columns_for_own_gradients_and_for_other_pixel_spaces(rows):
    defended = only(rows, defense="image_quilting", setting="gray_box", attack="pgd", epsilon=0.06)
    network = [
        dict(defended, defense="resnet_5"),
        dict(defended, defense="resnet_5", setting="gray_box-resnet_5", accuracy=0.125),
        # Within another kind of ball: no row of this table.
        dict(defended, defense="resnet_5", space="linf", accuracy=0.99),
    ]
    params = PARAMS | {
        "defense_labels": PARAMS["defense_labels"] | {"resnet_5": "RA-CNN"},
        "defense_kinds": PARAMS["defense_kinds"] | {"resnet_5": "racnn"},
    }
    knn = find(rows, "Targeted", setting="black_box")
    other = [dict(row, space="standardized", accuracy=0.0625) for row in (network[1], knn)]
    text = table2.as_markdown(table2.select_table2([*rows, *network, *other], params), params)
    heads = next(line for line in text.splitlines() if line.startswith("| Defence")).split("|")[2:-1]
    assert [head.strip() for head in heads[:7]] == [
        "n",
        "Clean",
        "Gray box",
        "Black box",
        "Gray box, on the defended network",
        "Gray box, on the defended network (standardized pixels)",
        "Black box (standardized pixels)",
    ]
    found = cells(text, "RA-CNN")
    assert [cell[:5] for cell in found[1:7]] == ["", "0.380", "", "0.125", "0.062", ""]
    assert found[7:] == ["RA-CNN (ResNet-18)", "0.609", "0.259", "–"]
    assert cells(text, "knn Targeted-4k (conv_4_1)")[6][:5] == "0.062"
    assert "they transfer" in text
    assert "after standardisation" in text
    assert "they transfer" not in table2.as_markdown(table2.select_table2(rows, PARAMS), PARAMS)


def test_table_4_sets_soft_beside_hard(rows):
    chosen = table4.select_table4(rows, PARAMS)
    text = table4.as_markdown(chosen, PARAMS)
    part = text[text.index("## Gray box") : text.index("## Black box")]
    found = cells(part, "All-4k (conv_4_1)")
    wanted = [(combination, weighting) for combination in ("soft", "hard") for weighting in WEIGHTINGS]
    rows_of = [find(rows, "All", setting="gray_box", combination=c, weighting=w) for c, w in wanted]
    assert found == [accuracy_text(row) for row in rows_of]
    assert cells(part, "*IN-1.3M (conv_5_1)*") == ["0.285", "0.286", "0.286", "0.291", "0.289", "0.293"]
    latex = table4.as_latex(chosen, PARAMS).splitlines()
    assert sum(line.count("\\multicolumn{6}{c}") for line in latex) == 3
    assert sum(line.count("\\multicolumn{3}{c}") for line in latex) == 6
    (line,) = [line for line in latex if line.startswith("All-4k (conv\\_4\\_1) ")]
    assert line.count("&") == 18


def bounded(accuracy: float, half: float, defense: str = "knn") -> dict:
    return {"accuracy": accuracy, "ci_low": accuracy - half, "ci_high": accuracy + half, "defense": defense}


@pytest.mark.parametrize(
    ("rows", "best", "with_bare"),
    [
        ([(0.8, 0.05, "none"), (0.6, 0.05, "knn"), (0.4, 0.05, "knn")], 1, 0),
        ([(0.6, 0.05, "knn"), (0.55, 0.05, "alp")], None, None),
        ([(0.6, 0.05, "knn"), (0.5, 0.0499, "alp")], 0, 0),
        # The runner-up overlaps nothing, another one does.
        ([(0.6, 0.05, "knn"), (0.5, 0.01, "alp"), (0.4, 0.2, "x")], None, None),
        ([(0.6, 0.05, "knn"), (0.6, 0.05, "knn")], None, None),
        ([(0.6, 0.05, "knn")], None, None),
        ([(0.6, 0.05, "none"), (0.2, 0.05, "knn")], None, 0),
        ([], None, None),
    ],
)
def test_only_a_lead_outside_of_noise_is_the_best(rows, best, with_bare):
    cells = {str(place): {("x",): bounded(*row)} for place, row in enumerate(rows)}
    for bare, wanted in ((False, best), (True, with_bare)):
        found = best_cells(cells, [("x",), ("y",)], bare=bare)
        assert found == ({id(cells[str(wanted)]["x",])} if wanted is not None else set())


def test_text_from_outside_stays_text():
    assert latex("a_b & 5 % #1 ${x}$ ~^\\n") == (
        "a\\_b \\& 5 \\% \\#1 \\$\\{x\\}\\$ \\textasciitilde{}\\textasciicircum{}\\textbackslash{}n"
    )
    assert latex_comment("one\n\\input{x}") == "% one \\input{x}"
    assert markdown_table(["a|b"], [["x\ny"]]) == ["| a\\|b |", "|---|", "| x y |"]
    table = latex_table("A", [("b_c",)], {"50 % & more": {("b_c",): bounded(0.5, 0.1)}}, {})
    assert "50 \\% \\& more & 0.500 \\\\" in table
    assert "A & b\\_c \\\\" in table


def test_rows_of_another_kind_become_a_table(tmp_path):
    """An evaluation kind needs no code here: its columns are those that its rows have."""
    kept = [
        row for row in accuracy_rows(n=50) if row["attack"] in ("none", "pgd") and row["defense"] in ("none", "knn")
    ]
    kept = [
        row for row in kept if not row["setting"].startswith("white_box") and row["features"] in ("none", "conv_4_1")
    ]
    made = [{**{axis: row[axis] for axis in AXES}, "certified": row["accuracy"] / 3, "radius_50": 7} for row in kept]
    (tmp_path / "rows.csv").write_text(format_rows(made, [*AXES, "certified", "radius_50"]))
    piece = kind_piece("certified", "Certified accuracy")
    assert (piece.name, piece.heading, piece.category) == ("rows_certified", "Certified accuracy", "Tables")
    measured = {"measured": f"{__name__}:CERTIFIED", "facts": {}}
    found = piece.make({"rows": [str(tmp_path / "rows.csv")]}, PARAMS | measured)
    assert list(found.columns) == [*AXES, "certified", "radius_50"]
    assert {row["size"] for row in found.rows if row["pool"] in ("All", "Targeted")} == {4000}
    assert {row["weighting"] for row in found.rows} == {"none", "CBW-D"}
    lines = found.markdown.splitlines()
    assert "| Defence | Images | certified | radius 50 |" in lines
    assert "| No defence | Clean | 0.2667 | 7 |" in lines
    assert any(line.startswith("| Targeted-4k (conv_4_1) | PGD, gray box, 0.02 (raw01) | ") for line in lines)
    assert "radius 50 \\\\" in found.latex
    assert found.latex.count("Train-2k (conv\\_4\\_1)") == 5


def test_table_3_compares_measured_sizes_with_the_papers():
    paper = paper_sizes()
    assert [row["layer"] for row in paper] == ["conv_2_3", "conv_3_4", "conv_4_6", "conv_5_1"]
    assert [paper[2][name] for name in SIZES] == [1024, 14, 14, 1024, 4, 4, 256]
    measured = [row | {"source": "resnet50, 224 px", "pca_dim": None} for row in paper]
    rows = table3_rows(measured)
    assert differences(rows, "resnet50, 224 px") == []
    text = as_markdown(rows, "resnet50, 224 px")
    assert "every size is the paper's" in text
    assert "| resnet50, 224 px | conv_3_4 | 512 × 28 × 28 | 512 × 7 × 7 |  |" in text
    assert "| *conv_3_4* | *512 × 28 × 28* | *512 × 7 × 7* | *256* |" in text
    assert "conv\\_3\\_4 & 512 $\\times$ 28 $\\times$ 28" in as_latex(rows)
    measured[1] |= {"pooled_height": 14}
    assert "conv_3_4: pooled_height is 14, the paper has 7" in as_markdown(table3_rows(measured), "resnet50, 224 px")
    with pytest.raises(InputError, match="pca_dim"):
        table3_rows([{name: 1 for name in COLUMNS if name != "pca_dim"}])


def test_measured_sizes_of_the_papers_network_are_the_papers():
    torch = pytest.importorskip("torch")
    from nndefense.features.layers import default_layers
    from nndefense.features.measure import measure_layers
    from nndefense.models.build import build_model

    network = build_model("resnet50", 1000, [0.5] * 3, [0.25] * 3)
    sizes = measure_layers(network, default_layers(network), torch.zeros(1, 3, 224, 224), {})
    assert [{**size, "layer": layer} for layer, size in sizes.items()] == [
        {name: value for name, value in row.items() if name not in ("source", "pca_dim")} for row in paper_sizes()
    ]
    assert measure_layers(network, ["conv_2_3"], torch.zeros(1, 3, 64, 64), {"conv_2_3": 2})["conv_2_3"] == {
        "channels": 256, "height": 16, "width": 16, "pooled_channels": 256, "pooled_height": 2, "pooled_width": 2
    }  # fmt: skip
