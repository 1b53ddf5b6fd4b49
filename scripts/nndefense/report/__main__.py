"""Print the list of figures and tables; with --write FILE, put it between the file's markers."""

import argparse
import sys
from pathlib import Path

from nndefense.report.listing import pieces_markdown, with_list

if __name__ == "__main__":
    options = argparse.ArgumentParser("python -m nndefense.report", description=__doc__)
    options.add_argument("--write", type=Path, metavar="FILE", help="Markdown with the markers, e.g. README.md")
    if path := options.parse_args().write:
        path.write_text(with_list(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write(pieces_markdown() + "\n")
