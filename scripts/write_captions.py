"""Write the captions of the report: what a figure or table shows, what the paper claims, what was seen in this run."""

import argparse
import json

from nndefense.core.command import Job, parser, run
from nndefense.core.files import write_text
from nndefense.report.pages.captions import as_rst, captions, piece_at, read_claims


def main(arguments: argparse.Namespace, job: Job) -> None:
    judged = read_claims(arguments.claims)
    found = captions(json.loads(arguments.about), judged)
    for path in arguments.output:
        write_text(path, as_rst(found[piece_at(path, found)]))
    job.say(f"{len(arguments.output)} captions from {len(judged)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--claims", required=True, help="claims.csv")
    options.add_argument("--about", required=True, help="the run and its figures and tables in words, as JSON")
    options.add_argument("--output", nargs="+", required=True, help="files NAME.rst, e.g. fig5.rst and table1.rst")
    run(main, options.parse_args())
