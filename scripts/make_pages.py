"""Make pages of HTML that stand for themselves: every table, the claims, and all figures and tables on one page."""

import argparse
import json
from pathlib import Path

from nndefense.command import Job, parser, run
from nndefense.errors import FileFault
from nndefense.files import write_text
from nndefense.report.captions import caption_of, read_claims
from nndefense.report.hypertext import html_of, without_title
from nndefense.report.page import Entry, image, overview, single
from nndefense.report.pieces import PIECES


def read_bytes(path: str) -> bytes:
    """A file's content; FileFault if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileFault(error) from error


def main(arguments: argparse.Namespace, job: Job) -> None:
    judged = read_claims(arguments.claims)
    config = json.loads(arguments.config)
    kinds: dict[str, dict[str, bytes]] = {}
    for path in arguments.files:
        place = Path(path)
        kinds.setdefault(place.stem, {})[place.name] = read_bytes(path)
    entries = {}
    for name in [name for name in PIECES if name in kinds]:
        files, caption = kinds[name], caption_of(PIECES[name], judged, config)
        if f"{name}.png" in files:
            content = image(caption, f"{name}.png", files.pop(f"{name}.png"))
        else:
            content = html_of(without_title(files.pop(f"{name}.md").decode()), below=2)
        entries[name] = Entry(caption, content, files)
    about = caption_of(PIECES["claims"], judged, config)
    title = f"Nearest-neighbour defences on {config['dataset']}: figures, tables, claims"
    for path in arguments.output:
        name = Path(path).stem
        write_text(path, overview(title, about, [*entries.values()]) if name == "overview" else single(entries[name]))
    job.say(f"{len(entries)} figures and tables")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--claims", required=True, help="claims.csv")
    options.add_argument("--config", required=True, help="the configuration's keys that captions name, as JSON")
    options.add_argument("--files", nargs="+", required=True, help="figures (.png), tables (.md), their .csv and .pdf")
    options.add_argument("--output", nargs="+", required=True, help="overview.html, or NAME.html of a table")
    run(main, options.parse_args())
