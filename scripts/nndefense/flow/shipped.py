"""Where the workflow is: beside the library in an installed package, around it in a checkout."""

import contextlib
from pathlib import Path

from nndefense.core.errors import InputError
from nndefense.core.fingerprint import SHIPPED
from nndefense.core.sources import LIBRARY

MAIN, BASE = "Snakefile", "config.yaml"


def workflow_folder() -> Path:
    """The folder of Snakefile, rules, scripts and configurations. InputError where the library was copied alone."""
    for folder in (LIBRARY / SHIPPED, LIBRARY.parents[1]):
        if (folder / MAIN).is_file():
            return folder
    raise InputError(f"{LIBRARY}: there is no workflow with this library; install the package nndefense, or a checkout")


def library_alone(scripts: Path, folder: Path) -> dict[str, str]:
    """What tells another Python, such as that of a conda environment, where the library is.

    Args:
        scripts: folder of the scripts, beside which a Python finds the library by itself in a checkout.
        folder: made where it is needed, of a link to the library: with the folder that the library was installed into,
            all other packages there would come along.

    Returns:
        Variables of the environment.
    """
    if (scripts / LIBRARY.name).is_dir():
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / LIBRARY.name
    if not link.is_symlink() or link.resolve() != LIBRARY:
        link.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # another job was faster
            link.symlink_to(LIBRARY)
    return {"PYTHONPATH": str(folder.resolve())}
