"""What Snakemake's shell commands begin with. Paths are data: a folder may have any name that a file system allows."""

import shlex
from pathlib import Path

from nndefense.core.orphans import VARIABLE


def literal(path: str | Path) -> str:
    """A path as a text that Snakemake formats back to it: braces are wildcards and values to it."""
    return str(path).replace("{", "{{").replace("}", "}}")


def shell_prefix(interpreter: str | None, before: str | None = None, **variables: str) -> str:
    """The text that Snakemake formats and puts before every command.

    Args:
        interpreter: path of the Python that `python` means; None: whatever the shell finds.
        before: what is put before commands already, by a workflow that takes this one for a module; None: nothing.
        variables: of the environment, besides the one that tells a job which run started it.
    """
    # Bash's strict mode comes from Snakemake only where no prefix is set.
    words = [(before or "set -euo pipefail").strip().removesuffix(";"), f"export {VARIABLE}=$PPID"]
    words += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    if interpreter is not None:
        # No entry of PATH, which cannot hold a folder with a colon.
        words.append(f'python() {{ {shlex.quote(interpreter)} "$@"; }}')
    return literal("; ".join(words) + "; ")
