"""Curves of training: what is written, read again and drawn."""

import pytest

from nndefense.core.errors import FileFault
from nndefense.evaluation.rows import format_rows
from nndefense.models.history import read_history, write_history
from nndefense.report.figures.training import PIECE, draw_training
from nndefense.report.style import figure_bytes


def history(epochs, start=2.0):
    return [
        {"epoch": epoch, "loss": start / epoch, "accuracy": 1 - 0.8 / epoch, "learning_rate": 0.1 / epoch}
        for epoch in range(1, epochs + 1)
    ]


def test_written_history_comes_back(tmp_path):
    write_history(tmp_path / "training.csv", history(3))
    rows = read_history(tmp_path / "training.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, expected in zip(rows, history(3), strict=True):
        assert row == pytest.approx(expected, rel=1e-5)


def test_figure_is_made_of_the_histories_in_their_order(tmp_path):
    files = [tmp_path / name for name in ("b.csv", "a.csv")]
    for place, path in enumerate(files):
        write_history(path, history(2 + place))
    made = PIECE.make({"histories": list(map(str, files))}, {"models": ["second", "first"]})
    assert [(row["model"], row["epoch"]) for row in made.rows] == [
        ("second", "1"), ("second", "2"), ("first", "1"), ("first", "2"), ("first", "3")
    ]  # fmt: skip
    text = format_rows(made.rows, made.columns)
    assert text.splitlines()[2] == "second,2,1,0.6,0.05"
    assert [text.get_text() for text in made.figure.legends[0].get_texts()] == ["second", "first"]


@pytest.mark.parametrize("text", ["", "epoch,loss\n1,2\n", "epoch,loss,accuracy,learning_rate\n1,2,3\n"])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "training.csv"
    path.write_text(text)
    with pytest.raises(FileFault, match="history of a training"):
        read_history(path)


def test_every_network_has_a_line_in_both_panels():
    histories = {"long": history(30), "short": history(1, start=3.0)}
    figure = draw_training(histories)
    loss, accuracy = figure.axes
    for panel, column in ((loss, "loss"), (accuracy, "accuracy")):
        lines = panel.get_lines()
        assert [list(line.get_ydata()) for line in lines] == [[row[column] for row in h] for h in histories.values()]
        assert list(lines[0].get_xdata()) == list(range(1, 31))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["long", "short"]
    assert loss.get_ylim()[1] > 3.0
    assert accuracy.get_ylim() == (0, 1.03)
    assert figure_bytes(figure, "pdf") == figure_bytes(draw_training(histories), "pdf")
