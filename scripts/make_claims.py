"""Judge the paper's claims on this run's predictions, by paired bootstrap over the test images."""

import argparse
import json
from collections import Counter

from nndefense.command import Job, parser, run
from nndefense.files import write_text
from nndefense.report.claims import CLAIMS, as_markdown, headlines
from nndefense.report.judge import COLUMNS, judge
from nndefense.report.outcomes import read_outcomes
from nndefense.retrieval.rows import write_rows
from nndefense.seeds import derive_seed


def main(arguments: argparse.Namespace, job: Job) -> None:
    base = json.loads(arguments.base)
    outcomes = read_outcomes(arguments.predictions, arguments.root, base)
    n = len(next(iter(outcomes.values()), ()))
    job.say(f"{len(outcomes):,} cells of {n:,} images from {len(arguments.predictions)} files")
    seed = derive_seed(arguments.seed, "claims")
    judged = judge(CLAIMS, outcomes, base, seed=seed, resamples=arguments.resamples)
    about = (
        f"Dataset {arguments.dataset}, model {arguments.model}, n = {n:,} test images, "
        f"{arguments.resamples:,} resamples of them. Held fixed where not varied: "
        + ", ".join(f"{axis} {value}" for axis, value in base.items())
        + "."
    )
    write_rows(arguments.csv, judged, COLUMNS)
    write_text(arguments.md, as_markdown(judged, CLAIMS, about))
    counts = Counter(row["verdict"] for row, _ in headlines(judged))
    job.say(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--predictions", nargs="+", required=True, help="files ROOT/FEATURES/QUERIES.npz")
    options.add_argument("--root", required=True, help="their folder, predictions/{model}")
    options.add_argument("--base", required=True, help="base values of all axes, as JSON")
    options.add_argument("--dataset", required=True)
    options.add_argument("--model", required=True)
    options.add_argument("--resamples", type=int, default=4000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--csv", required=True)
    options.add_argument("--md", required=True)
    run(main, options.parse_args())
