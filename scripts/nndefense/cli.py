"""The command `nndefense`: one sub-command per module of `nndefense.commands`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from nndefense import __version__
from nndefense.core.devices import exact_products
from nndefense.core.errors import FileFault, NNDefenseError
from nndefense.core.memory import is_out_of_memory, shortage

# Name -> module with `add_arguments(parser)` and `main(arguments)`, which returns the exit code.
COMMANDS = {
    "certify": "nndefense.commands.certify",
    "compare": "nndefense.commands.compare",
    "doctor": "nndefense.commands.doctor",
    "fork": "nndefense.commands.fork",
    "init": "nndefense.commands.init",
    "leaderboard": "nndefense.commands.leaderboard",
    "plan": "nndefense.commands.plan",
    "predict": "nndefense.commands.predict",
    "rescore": "nndefense.commands.rescore",
    "run": "nndefense.commands.run",
}
# Those whose arguments are read by whom they are for: they are given them as `line`.
FORWARDING = ("run",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; returns the exit code. Known errors become one line.

    Args:
        argv: arguments without the program's name; those of this process without.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        # Plugins are found while modules are imported.
        arguments = parsed(words)
        if getattr(arguments, "device", "cpu") != "cpu":
            # As the workflow's jobs compute.
            exact_products()
        return arguments.command(arguments)
    except NNDefenseError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {FileFault(error)}", file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"error: {NNDefenseError(shortage(error))}: more memory is needed", file=sys.stderr)
    return 1


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line, and the function that is given them as `command`."""
    parser = argparse.ArgumentParser(prog="nndefense", description="Nearest-neighbour defences as deployed.")
    parser.add_argument("--version", action="version", version=f"nndefense {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = import_module(module)
        text = command.__doc__ or ""
        added = commands.add_parser(
            name,
            help=text.partition("\n")[0].replace("%", "%%"),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(added)
        added.set_defaults(command=command.main)
    forwarding = bool(words) and words[0] in FORWARDING
    arguments = parser.parse_args(words[:1] if forwarding else words)
    arguments.line = list(words[1:])
    return arguments


if __name__ == "__main__":
    sys.exit(main())
