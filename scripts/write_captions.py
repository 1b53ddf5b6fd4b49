"""Write the captions of the report: what a figure or table shows, what the paper claims, what was seen in this run."""

import argparse
import json
from pathlib import Path

from nndefense.command import Job, parser, run
from nndefense.files import write_text
from nndefense.report.captions import as_rst, caption_of, read_claims
from nndefense.report.pieces import PIECES


def main(arguments: argparse.Namespace, job: Job) -> None:
    judged = read_claims(arguments.claims)
    config = json.loads(arguments.config)
    for path in arguments.output:
        write_text(path, as_rst(caption_of(PIECES[Path(path).stem], judged, config)))
    job.say(f"{len(arguments.output)} captions from {len(judged)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--claims", required=True, help="claims.csv")
    options.add_argument("--config", required=True, help="the configuration's keys that captions name, as JSON")
    options.add_argument("--output", nargs="+", required=True, help="files NAME.rst, e.g. fig5.rst and table1.rst")
    run(main, options.parse_args())
