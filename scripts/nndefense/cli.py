"""The command `nndefense`: one sub-command per module of `nndefense.commands`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from nndefense import __version__
from nndefense.core.errors import FileFault, NNDefenseError

# Name -> module with `add_arguments(parser)` and `main(arguments)`, which returns the exit code.
COMMANDS = {
    "certify": "nndefense.commands.certify",
    "plan": "nndefense.commands.plan",
    "predict": "nndefense.commands.predict",
    "rescore": "nndefense.commands.rescore",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; returns the exit code. Known errors become one line.

    Args:
        argv: arguments without the program's name; those of this process without.
    """
    parser = argparse.ArgumentParser(prog="nndefense", description="Nearest-neighbour defences as deployed.")
    parser.add_argument("--version", action="version", version=f"nndefense {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = import_module(module)
        text = command.__doc__ or ""
        added = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(added)
        added.set_defaults(command=command.main)
    arguments = parser.parse_args(argv)
    try:
        return arguments.command(arguments)
    except NNDefenseError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {FileFault(error)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
