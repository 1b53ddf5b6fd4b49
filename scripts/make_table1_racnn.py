"""Make Table 1 of the RA-CNN abstract (Zhao, Li & Cho 2018) beside the paper's values, and judge its claims."""

import argparse
import json
from collections import Counter

from nndefense.command import Job, parser, run
from nndefense.errors import InputError
from nndefense.files import read_arrays, write_text
from nndefense.report.claims_racnn import CLAIMS
from nndefense.report.judge import COLUMNS as JUDGED
from nndefense.report.judge import judge
from nndefense.report.linf import linf_outcomes, select_linf
from nndefense.report.table1_racnn import COLUMNS, as_latex, as_markdown, table_rows
from nndefense.report.verdicts import headlines
from nndefense.retrieval.rows import read_rows, write_rows
from nndefense.seeds import derive_seed


def main(arguments: argparse.Namespace, job: Job) -> None:
    base = json.loads(arguments.base)
    rows, outcomes, images = [], {}, None
    for accuracy, path in zip(arguments.accuracy, arguments.predictions, strict=True):
        found = read_rows(accuracy)
        predictions = read_arrays(path)
        images = predictions["rows"].tolist() if images is None else images
        if predictions["rows"].tolist() != images:
            raise InputError(f"{path}: holds other images, or another order, than {arguments.predictions[0]}")
        rows += found
        outcomes |= linf_outcomes(predictions, found[0])
    rows = select_linf(rows, base)
    judged = judge(CLAIMS, outcomes, base, seed=derive_seed(arguments.seed, "claims"), resamples=base["resamples"])
    write_rows(arguments.csv, table_rows(rows, base), COLUMNS)
    write_rows(arguments.claims, judged, JUDGED)
    write_text(arguments.tex, as_latex(rows, base))
    write_text(arguments.md, as_markdown(rows, judged, base))
    counts = Counter(row["verdict"] for row, _ in headlines(judged))
    job.say(f"{len(rows)} rows; claims: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--accuracy", nargs="+", required=True, help="CSV of accuracy rows, one per network")
    options.add_argument("--predictions", nargs="+", required=True, help="their predictions, .npz, in that order")
    options.add_argument("--base", required=True, help="baseline, steps of I-FGSM and resamples, as JSON")
    options.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    options.add_argument("--csv", required=True, help="rows of the table")
    options.add_argument("--md", required=True)
    options.add_argument("--tex", required=True)
    options.add_argument("--claims", required=True, help="CSV of every comparison and its verdict")
    run(main, options.parse_args())
