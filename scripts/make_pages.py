"""Make pages of HTML that stand for themselves: every table, the claims, and all figures and tables on one page."""

import argparse
import json
from pathlib import Path

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import FileFault
from nndefense.core.files import write_text
from nndefense.report.pages.captions import captions, piece_at, read_claims
from nndefense.report.pages.page import Entry, image, overview, single, table


def read_bytes(path: str) -> bytes:
    """A file's content; FileFault if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileFault(error) from error


def main(arguments: argparse.Namespace, job: Job) -> None:
    about = json.loads(arguments.about)
    found = captions(about, read_claims(arguments.claims))
    files: dict[str, dict[str, bytes]] = {}
    for path in arguments.files:
        name = piece_at(path, found)
        # One word, as a name to save it by.
        files.setdefault(name, {})[f"{name.replace('/', '_')}{Path(path).suffix}"] = read_bytes(path)
    entries = {}
    for name, caption in found.items():
        own, word = files[name], name.replace("/", "_")
        if f"{word}.png" in own:
            content = image(caption, f"{word}.png", own.pop(f"{word}.png"))
        else:
            content = table(caption, own.pop(f"{word}.md").decode())
        entries[name] = Entry(caption, content, own)
    for path in arguments.output:
        if Path(path).stem == "overview":
            write_text(path, overview(about["title"], found["claims"], [*entries.values()]))
        else:
            write_text(path, single(entries[piece_at(path, found)]))
    job.say(f"{len(entries)} figures and tables")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--claims", required=True, help="claims.csv")
    options.add_argument("--about", required=True, help="the run and its figures and tables in words, as JSON")
    options.add_argument("--files", nargs="+", required=True, help="figures (.png), tables (.md), their .csv and .pdf")
    options.add_argument("--output", nargs="+", required=True, help="overview.html, or NAME.html of a table")
    run(main, options.parse_args())
