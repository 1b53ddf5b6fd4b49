"""A leaderboard of worst cases: entries of FOLDER are checked, re-scored where their runs lie here, and put on a page.

FOLDER has a file NAME.yaml for each entry (docs/leaderboard.md lists its keys). An entry whose counts, accuracies and
intervals do not fit together is refused. Where an entry names a run and its defence, and results/RUN is there, the
exact defence is asked again about the run's stored images, and the page says whether it agrees. Entries are never
changed.
"""

import argparse
from pathlib import Path

from nndefense.commands.images import check_suffix, in_columns
from nndefense.core.text import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="folder of entries")
    parser.add_argument(
        "--run",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of results of runs that entries name, where they lie elsewhere than in results/RUN",
    )
    parser.add_argument("--output", metavar="PAGE", help="page to write: .html")
    parser.add_argument("--markdown", metavar="FILE", help="what the entries alone say, as docs/leaderboard.md: .md")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="what to compute on (default: cpu)")


def main(arguments: argparse.Namespace) -> int:
    """Check, re-score, print and write; the exit code is 0."""
    check_suffix("--output", arguments.output, ("html",))
    check_suffix("--markdown", arguments.markdown, ("md",))
    from nndefense.commands.leaderboard_entries import read_entries
    from nndefense.commands.leaderboard_scores import Rescored, find_runs, rescore_entry, share_text
    from nndefense.commands.leaderboard_text import TITLE, docs_text, page_text
    from nndefense.core.files import write_text
    from nndefense.report.pages.hypertext import html_of
    from nndefense.report.pages.page import document

    entries = read_entries(arguments.folder)
    folders = find_runs(arguments.run, list(entries.values()))
    if arguments.markdown:
        write_text(arguments.markdown, docs_text(entries))
    found = {name: rescore_entry(entry, folders, arguments.device) for name, entry in entries.items()}
    lines = [("entry", "worst case [95 %]", "re-scored here")]
    for name, entry in entries.items():
        again = found[name]
        told = again.text(entry) if isinstance(again, Rescored) else f"not re-scored here: {again}"
        lines.append((name, share_text(entry.worst_case.right, entry.n), told))
    print(in_columns(lines))
    if arguments.output:
        write_text(arguments.output, document(TITLE, html_of(page_text(entries, found))))
    print(*(visible(str(Path(one))) for one in (arguments.output, arguments.markdown) if one), sep=", ")
    return 0
