"""Plot the curves of all trained networks: loss and accuracy against the epoch."""

import argparse
import csv
import io
from pathlib import Path

from nndefense.command import Job, parser, run
from nndefense.files import write_bytes, write_text
from nndefense.models.history import COLUMNS, read_history
from nndefense.report.style import figure_bytes
from nndefense.report.training import draw_training


def main(arguments: argparse.Namespace, job: Job) -> None:
    histories = {Path(path).parent.name: read_history(path) for path in arguments.histories}
    figure = draw_training(histories)
    write_bytes(arguments.pdf, figure_bytes(figure, "pdf"))
    write_bytes(arguments.png, figure_bytes(figure, "png"))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["model", *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"model": name, **row} for name, rows in histories.items() for row in rows)
    write_text(arguments.csv, text.getvalue())
    job.say(f"{len(histories)} networks")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--histories", nargs="+", required=True, help="training.csv of each network, in its folder")
    options.add_argument("--csv", required=True, help="rows that are shown")
    options.add_argument("--pdf", required=True)
    options.add_argument("--png", required=True)
    run(main, options.parse_args())
