"""Plot a figure of the report."""

import argparse
import json

from nndefense.core.command import Job, parser, run
from nndefense.core.files import write_bytes
from nndefense.evaluation.rows import write_rows
from nndefense.report.doubts import noted
from nndefense.report.piece import by_role
from nndefense.report.pieces import load_piece
from nndefense.report.style import figure_bytes


def main(arguments: argparse.Namespace, job: Job) -> None:
    piece = load_piece(arguments.piece)
    files = by_role(arguments.roles, arguments.files)
    made = noted(piece.make(files, json.loads(arguments.params)), files)
    for kind in ("pdf", "png"):
        write_bytes(getattr(arguments, kind), figure_bytes(made.figure, kind))
    write_rows(arguments.csv, made.rows, made.columns)
    job.say(f"{piece.heading}: {len(made.rows)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--piece", required=True, help="its name, e.g. fig5")
    options.add_argument("--params", required=True, help="what it uses of the configuration, as JSON")
    options.add_argument("--files", nargs="+", required=True, help="files that it is made from")
    options.add_argument("--roles", nargs="+", required=True, help="their roles, in the same order")
    options.add_argument("--csv", required=True, help="rows that are shown")
    options.add_argument("--pdf", required=True)
    options.add_argument("--png", required=True)
    run(main, options.parse_args())
