"""Make figures, tables or other files: run the workflow that comes with this package, in the working directory.

    nndefense run fig5                                             # results/fig5.pdf, from synthetic images
    nndefense run table1 fig5.pdf --config mine.yaml               # keys of mine.yaml change those of the default
    nndefense run --cores 8 --resources gpu=4 results/fig5.pdf     # options and targets in any order
    nndefense run -n                                               # what would run for everything

Takes every option of `snakemake`. A target is a file, a rule, or the short name of a figure or table (fig5, srd/table)
or of a file of results (fig5.csv, knn.json). `--config` takes KEY=VALUE, and files: yours, or config/cifar10.yaml and
the like, which come with this package. Where nothing else is said, all cores are used and the GPUs that are found.
Options that take targets themselves, such as --forcerun, take all that follow: write others before, or after --.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nndefense.commands.line import CONFIG, CONFIG_FILES, Given, Line, Option, joined, snakemake_options, split
from nndefense.commands.plan_facts import configuration_files, read_configuration
from nndefense.config import Config, load_config
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.text import visible
from nndefense.flow.shipped import MAIN, workflow_folder

# Whoever names one of these says how many jobs run at once, and where.
ELSEWHERE = ("--profile", "--workflow-profile", "--executor", "--immediate-submit")
LIMITS = "--resources"
MAIN_FILE = {"figure": "pdf", "table": "md"}
# Of results that have a short name: files at the top of a run.
ENDINGS = (".csv", ".html", ".json", ".md", ".parquet", ".pdf", ".png", ".tex")
# Those with which Snakemake makes nothing.
LOOKING = (
    "--archive", "--cleanup-metadata", "--cleanup-shadow", "--conda-cleanup-envs", "--conda-create-envs-only",
    "--containerize", "--d3dag", "--dag", "--delete-all-output", "--delete-temp-output", "--detailed-summary",
    "--dry-run", "--export-cwl", "--filegraph", "--lint", "--list-changes", "--list-conda-envs", "--list-input-changes",
    "--list-params-changes", "--list-rules", "--list-target-rules", "--list-untracked", "--print-compilation",
    "--report", "--rulegraph", "--summary", "--touch", "--unlock", "--version",
)  # fmt: skip
# Options whose values are targets.
NAMING_TARGETS = ("--forcerun", "--prioritize", "--until", "--omit-from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-command takes Snakemake's own arguments."""


def main(arguments: argparse.Namespace) -> int:
    """Replace this process by Snakemake; does not return where that works."""
    if not {"-h", "--help"}.isdisjoint(arguments.line):
        print(f"usage: nndefense run [TARGET or OPTION of snakemake ...]\n\n{__doc__}")
        return 0
    # Modules are those of the environment, whatever lies in the folder.
    line, config = understood(arguments.line)
    command = [sys.executable, "-P", "-m", "snakemake", *joined(line)]
    if config is not None:
        begin_with_base(config, line)
    sys.stdout.flush()
    return os.execv(sys.executable, command)


def snakemake_words(words: Sequence[str]) -> list[str]:
    """Snakemake's arguments for those of this command. Raises what `understood` does."""
    return joined(understood(words)[0])


def understood(words: Sequence[str]) -> tuple[Line, Config | None]:
    """The line that Snakemake is given for the arguments of this command, and the configuration.

    The configuration is None with a Snakefile of the user's own, whose affair it is.

    Raises:
        InputError: an option or a target that there is not.
        ConfigError: a configuration that cannot be read, or is refused.
    """
    options = installed_options()
    line = split(words, options, is_short)
    own_workflow, config = line.has("--snakefile"), None
    files = given_files(line)
    if not own_workflow:
        files = configuration_files(files)
        config = load_config(read_configuration(files, overwrites(line)))
        line.targets = [full_name(one, config) for one in line.targets]
        for option, values in line.given:
            if option.names[0] in NAMING_TARGETS:
                values[:] = [full_name(one, config) for one in values]
    added = {} if own_workflow else {"--snakefile": [str(workflow_folder() / MAIN)]}
    added |= {CONFIG_FILES: list(map(str, files))} if files else {}
    line.given = gathered(line) + [Given(named(options, name), values) for name, values in added.items()]
    add_defaults(line, options)
    return line, config


def begin_with_base(config: Config, line: Line) -> None:
    """Give a run that is not there yet the files of its `base_run`, and say so; nothing where nothing will be made.

    Raises:
        InputError: there is no such base, or a run works there now.
    """
    from nndefense.commands.fork import fork, root_of

    folder, own = Path(*line.values("--directory")[-1:]), root_of(config.run)
    if config.base_run is None or os.path.lexists(folder / own):
        return
    if not line.has(*LOOKING):
        print(visible(f"base_run: {fork(config.base_run, config.run, folder)}"))
    elif line.has("--dry-run"):
        print(f"base_run: {own} is not there yet; it will begin with the files of {root_of(config.base_run)}")


def installed_options() -> list[Option]:
    """Snakemake's options. InputError where it is not installed."""
    try:
        return snakemake_options()
    except ImportError as error:
        raise InputError(f"snakemake cannot be imported ({error}); pip install snakemake") from None


def named(options: Sequence[Option], name: str) -> Option:
    """The option of a name."""
    return next(one for one in options if name in one.names)


# -- configuration


def given_files(line: Line) -> list[Path]:
    """Configuration files, in the order in which they were named; what is not here is looked for in the workflow.

    Raises:
        ConfigError: one that is in neither.
    """
    found = []
    for option, values in line.given:
        if option.names[0] in (CONFIG, CONFIG_FILES):
            found += [Path(one) for one in values if option.names[0] == CONFIG_FILES or "=" not in one]
    shipped = workflow_folder()
    found = [one if one.is_file() or not (shipped / one).is_file() else shipped / one for one in found]
    if missing := [one for one in found if not one.is_file()]:
        presets = ", ".join(str(one.relative_to(shipped)) for one in sorted(shipped.glob("config/*.yaml")))
        raise ConfigError(f"{CONFIG_FILES} {missing[0]}: there is no such file; allowed: yours, or {presets}")
    return found


def overwrites(line: Line) -> dict[str, Any]:
    """What --config says of single keys, read as Snakemake reads it. ConfigError for what it does not read."""
    from snakemake.cli import parse_config

    try:
        return parse_config([one for one in line.values(CONFIG) if "=" in one])
    except ValueError as error:
        raise ConfigError(f"{CONFIG}: {error}") from None


def gathered(line: Line) -> list[Given]:
    """Options without configuration files. Single keys and limits are one option each: Snakemake keeps the last one."""
    found: list[Given] = []
    kept: dict[str, list[str]] = {CONFIG: [], LIMITS: []}
    for option, values in line.given:
        name = option.names[0]
        if name == CONFIG_FILES:
            continue
        if name not in kept:
            found.append(Given(option, values))
            continue
        if not kept[name]:
            found.append(Given(option, kept[name]))
        kept[name] += [one for one in values if "=" in one]
    return [one for one in found if one.values or one.option.names[0] not in kept]


def add_defaults(line: Line, options: Sequence[Option]) -> None:
    """Add what the line leaves open on this machine: all cores, and the GPUs that are found."""
    from nndefense.core.devices import visible_gpus

    if line.has(*ELSEWHERE):
        return
    if not line.has("--cores", "--jobs"):
        line.given.append(Given(named(options, "--cores"), ["all"]))
    if not line.has(LIMITS):
        line.given.append(Given(named(options, LIMITS), []))
    limits = next(values for option, values in line.given if option.names[0] == LIMITS)
    if not any(one.startswith("gpu=") for one in limits):
        limits.append(f"gpu={len(visible_gpus())}")


# -- targets


def pieces() -> list[str]:
    """Names of figures and tables."""
    from nndefense.report import PIECES
    from nndefense.report.pieces import KIND_PIECES

    return [*PIECES, *KIND_PIECES]


def is_short(word: str) -> bool:
    """Whether a word can only be a target: a figure, a table, or a file of results."""
    return word.startswith("results/") or word in pieces() or _ending(word) in pieces()


def _ending(word: str) -> str:
    stem, dot, ending = word.rpartition(".")
    return stem if dot and f".{ending}" in ENDINGS else ""


def full_name(word: str, config: Config) -> str:
    """A target as Snakemake knows it.

    Raises:
        InputError: neither file, rule, figure nor table, or a figure that the configuration lacks the axes for.
    """
    from nndefense.report.pieces import existing, load_piece

    results = f"results/{config.run}" if config.run else "results"
    name = word if word in pieces() else _ending(word)
    if name in pieces():
        piece = load_piece(name)
        if not piece.exists(config):
            allowed = ", ".join(one.name for one in existing(config))
            raise InputError(f"target {word!r}: this configuration has no axes for it; allowed: {allowed}")
        return f"{results}/{name}.{MAIN_FILE[piece.kind] if word == name else word.rpartition('.')[2]}"
    if "/" in word or "." in word:
        return f"{results}/{word}" if "/" not in word and word.endswith(ENDINGS) else word
    if not is_rule(word):
        allowed = ", ".join(["all", *(one.name for one in existing(config))])
        raise InputError(f"target {word!r} is unknown; allowed: a file of results, a rule, or {allowed}")
    return word


def is_rule(word: str) -> bool:
    """Whether a rule may have this name: those that rules/ names, and those of which it makes several."""
    folder = workflow_folder()
    stems = [*(one.stem for one in (folder / "scripts").glob("*.py")), "plot", "make"]
    if any(word.startswith(f"{stem}_") for stem in stems):
        return True
    texts = [one.read_text(encoding="utf-8") for one in [folder / MAIN, *(folder / "rules").glob("*.smk")]]
    return any(re.search(rf"^rule {re.escape(word)}:", text, re.MULTILINE) for text in texts)
