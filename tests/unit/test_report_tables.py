"""Tables 1 to 4 hold the right cells, and the paper's are marked as the paper's."""

import pytest

from nndefense.errors import InputError
from nndefense.report import table1, table2, table4
from nndefense.report.accuracy_grid import accuracy_text
from nndefense.report.select import matching, only
from nndefense.report.table3 import COLUMNS, SIZES, as_latex, as_markdown, differences, paper_sizes, table3_rows

from .synthetic import BASE, WEIGHTINGS, accuracy_rows


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
    text = table1.as_markdown(table1.select_table1(rows, BASE), BASE, [])
    columns = [(setting, weighting) for setting in ("clean", "gray_box", "black_box") for weighting in WEIGHTINGS]
    for name, pool, end in (("Train-2k", "Train", ""), ("Targeted-4k", "Targeted", "-RMAC")):
        found = cells(text, f"{name} (conv_4_1{end})")
        wanted = [find(rows, pool, features=f"conv_4_1{end}", setting=s, weighting=w) for s, w in columns]
        assert found == [accuracy_text(row) for row in wanted]
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert order.index("*Paper (ImageNet, ResNet-50):*") < order.index("*IN-1.3M (conv_5_1)*") == len(order) - 1
    assert cells(text, "*IG-1B-Targeted (conv_5_1)*")[:3] == ["0.659", "0.664", "0.681"]
    latex = table1.as_latex(table1.select_table1(rows, BASE), BASE)
    assert latex.index("\\emph{Paper (ImageNet, ResNet-50)}") < latex.index("IN-1.3M")


def test_table_2_holds_every_defence_beside_the_papers(rows):
    chosen = table2.select_table2(rows, BASE)
    text = table2.as_markdown(chosen, BASE)
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
    latex = table2.as_latex(chosen, BASE)
    assert "knn Targeted-4k (conv\\_4\\_1)" in latex
    assert latex.index("No defence & 0.800") < latex.index("\\emph{Paper") < latex.index("No defence & 0.761")


def test_table_2_marks_the_best_defence_and_not_the_undefended_model(rows):
    text = table2.as_markdown(table2.select_table2(rows, BASE), BASE)
    best = find(rows, "Targeted", setting="clean")
    assert f"**{accuracy_text(best)}**" in text
    assert "| No defence | 200 | 0.800 [" in text


def test_table_2_has_columns_for_own_gradients_and_for_other_pixel_spaces(rows):
    defended = only(rows, defense="image_quilting", setting="gray_box", attack="pgd", epsilon=0.06)
    network = [
        dict(defended, defense="racnn"),
        dict(defended, defense="racnn", setting="gray_box-racnn", accuracy=0.125),
    ]
    knn = find(rows, "Targeted", setting="black_box")
    other = [dict(row, space="standardized", accuracy=0.0625) for row in (network[1], knn)]
    text = table2.as_markdown(table2.select_table2([*rows, *network, *other], BASE), BASE)
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
    assert "they transfer" not in table2.as_markdown(table2.select_table2(rows, BASE), BASE)


def test_table_4_sets_soft_beside_hard(rows):
    chosen = table4.select_table4(rows, BASE)
    text = table4.as_markdown(chosen, BASE)
    part = text[text.index("## Gray box") : text.index("## Black box")]
    found = cells(part, "All-4k (conv_4_1)")
    wanted = [(combination, weighting) for combination in ("soft", "hard") for weighting in WEIGHTINGS]
    rows_of = [find(rows, "All", setting="gray_box", combination=c, weighting=w) for c, w in wanted]
    assert found == [accuracy_text(row) for row in rows_of]
    assert cells(part, "*IN-1.3M (conv_5_1)*") == ["0.285", "0.286", "0.286", "0.291", "0.289", "0.293"]
    latex = table4.as_latex(chosen, BASE).splitlines()
    assert sum(line.count("\\multicolumn{6}{c}") for line in latex) == 3
    assert sum(line.count("\\multicolumn{3}{c}") for line in latex) == 6
    (line,) = [line for line in latex if line.startswith("All-4k (conv\\_4\\_1) ")]
    assert line.count("&") == 18


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
