"""Say what an experiment costs before anything runs: jobs, bytes, operations, memory and hours of every stage.

Numbers of jobs are those that Snakemake finds for `all`. Hours follow from rates, which benchmarks/rates.py measures;
attacks through a defence are given the most that they can take, since images that it breaks leave. What is not known
beforehand is shown as "?": images of folders until they are listed, or a side that the configuration does not tell.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from nndefense.commands.images import in_columns
from nndefense.commands.plan_facts import configuration_files, known_networks, known_sets, read_configuration
from nndefense.config import Config, load_config
from nndefense.core.errors import InputError
from nndefense.core.text import visible
from nndefense.flow.costs import HOURS, Stage, as_numbers, together
from nndefense.flow.encoders import encoders
from nndefense.flow.estimate import Facts
from nndefense.flow.plan import Plan, make_plan
from nndefense.flow.plan_others import asked_models
from nndefense.flow.queries import attacked_model, made_packs
from nndefense.flow.rates import Rates, read_rates

SHIPPED = Path(__file__).with_name("rates.json")
COLUMNS = (
    "stage",
    "jobs",
    "images or rows",
    "written",
    "forward",
    "backward",
    "FLOP",
    "MB",
    "CPU h",
    "GPU h",
    "wall h",
)
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
UNKNOWN, AT_LEAST = "?", "≥"
OTHERS = "others"
# Files that only figures and tables ask for, by the scripts that make them.
SHOWN = {
    "certify_votes": "/certificates/poisoning/",
    "evaluate_model": "/clean_accuracy.json",
    "measure_layers": "/layer_sizes.json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument(
        "--configfile", nargs="+", default=[], metavar="FILE", help="as of snakemake (default: config.yaml)"
    )
    parser.add_argument("--rates", default=str(SHIPPED), help="what a machine does in a second, by benchmarks/rates.py")
    parser.add_argument("--cores", type=int, default=1, help="cores that jobs share (default: 1)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that jobs share (default: 0)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--markdown", action="store_true", help="print a Markdown table")
    output.add_argument("--json", action="store_true", help="print everything as JSON")


def main(arguments: argparse.Namespace) -> int:
    """Plan and print; the exit code is 0."""
    for name, least in (("cores", 1), ("gpus", 0)):
        if getattr(arguments, name) < least:
            raise InputError(f"--{name} is {getattr(arguments, name)}; allowed: an integer >= {least}")
    rates = read_rates(arguments.rates)
    config = load_config(read_configuration(configuration_files(arguments.configfile)))
    found = make_plan(
        config,
        known_facts(config),
        rates,
        cores=arguments.cores,
        gpus=arguments.gpus,
        more=report_jobs(config),
    )
    if arguments.json:
        print(json.dumps(as_json(found, rates), indent=2))
    else:
        show = in_markdown if arguments.markdown else in_columns
        print(show(table(found)), *map(visible, sentences(found, rates, arguments.gpus)), sep="\n")
    return 0


def known_facts(config: Config) -> Facts:
    """What is known of an experiment's images and networks."""
    rows, sides = known_sets(config, Path("results", config.run))
    queries, pools = sides.get(config.queries.images), config.pools.values()
    passing = [config.target, *encoders(config)]
    wanted = [(model, sides.get(name)) for model in passing for pool in pools for name in pool.images]
    wanted += [(model, queries) for model in (*passing, config.surrogate) if model]
    wanted += [(attacked_model(config, pack.threat), queries) for pack in made_packs(config)]
    for name in asked_models(config):
        if recipe := config.models[name].train:
            wanted.append((name, sides.get(recipe.images)))
    return Facts(rows, sides, known_networks(config, wanted, config.target))


def report_jobs(config: Config) -> list[tuple[str, int]]:
    """Scripts of figures, tables and pages, and of what they alone ask for, and their numbers of jobs."""
    from nndefense.report.pieces import existing

    pieces = existing(config)
    kinds = Counter(piece.kind for piece in pieces)
    sources = {path for piece in pieces for paths in piece.files(config).values() for path in paths}
    found = {"plot_figure": kinds["figure"], "make_table": kinds["table"], "write_captions": 1, "make_pages": 1}
    found |= {script: sum(part in path for path in sources) for script, part in SHOWN.items()}
    return [(script, count) for script, count in found.items() if count]


# -- in words


def table(found: Plan) -> list[tuple[str, ...]]:
    """Stages as lines of text, COLUMNS before them, their total behind; those that are counted only are one line."""
    others = unreckoned(found)
    lines = [line(one) for one in found.stages if one not in others]
    lines += [line(together(others, OTHERS))] if others else []
    # Images of one stage are those of another.
    total = line(found.total)
    return [COLUMNS, *lines, (*total[:2], "", *total[3:])]


def unreckoned(found: Plan) -> list[Stage]:
    """Stages that are counted only."""
    return [one for one in found.stages if one.counted]


def line(stage: Stage) -> tuple[str, ...]:
    """A stage as text."""

    def told(name: str, text: Callable[[float], str]) -> str:
        value = getattr(stage, name)
        if name not in stage.unknown:
            return text(value)
        return f"{AT_LEAST} {text(value)}" if value else UNKNOWN

    return (
        stage.script,
        f"{stage.jobs:,}",
        told("rows", whole),
        told("written", lambda value: prefixed(value, "B")),
        *(told(name, prefixed) for name in ("forward", "backward", "flop")),
        UNKNOWN if math.isnan(stage.megabytes) else whole(stage.megabytes),
        *(told(name, hours) for name in HOURS),
    )


def whole(value: float) -> str:
    """A number without decimals: 1,234."""
    return f"{value:,.0f}"


def hours(value: float) -> str:
    """Hours, to three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def prefixed(value: float, unit: str = "") -> str:
    """A number to three digits, with a prefix: 1.02 EB, 512 M."""
    power = 0
    # What would be rounded to 1,000 has the next prefix.
    while float(f"{value:.3g}") >= 1000 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return " ".join(filter(None, (f"{value:.3g}", PREFIXES[power] + unit)))


def in_markdown(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a Markdown table, numbers to the right."""
    head, *rest = lines
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rest)) + "\n"


def sentences(found: Plan, rates: Rates, gpus: int) -> list[str]:
    """What the table does not tell: what dominates, what bounds searches, what is not known, whose rates these are."""
    total, told = found.total, []
    told.append(
        f"written: {prefixed(total.written, 'B')}, of which {prefixed(total.temporary, 'B')} are deleted once used"
    )
    if most := found.dominant():
        script, share, label = most
        told.append(f"{script} takes {share:.0%} of the {label}")
    told += bound_sentence(found)
    if total.reckoned < total.jobs:
        told.append(f"hours are not known of {total.jobs - total.reckoned:,} of {total.jobs:,} jobs")
    if others := unreckoned(found):
        told.append(f"{OTHERS}: {', '.join(f'{one.script} {one.jobs:,}' for one in others)}")
    told.append(f"rates: {rates.machine}{'; of GPUs assumed' if gpus and rates.gpu.assumed else ''}")
    return told


def bound_sentence(found: Plan) -> list[str]:
    """Whether exact searches are bound by reading or by computing; none without any that is known."""
    known = [one for one in found.bounds if not math.isnan(one.queries + one.threshold)]
    if not known:
        return []
    limits = sorted({round(one.threshold) for one in known})
    span = f"{limits[0]:,}" if len(limits) == 1 else f"{limits[0]:,} to {limits[-1]:,}"
    counts, fewest = Counter(one.by for one in known), min(known, key=lambda one: one.queries)
    return [
        f"exact searches of a span are bound by computing above {span} queries a batch: of {len(known)} "
        f"{counts['computing']} by computing, {counts['reading']} by reading; the fewest queries: {fewest.batch}, "
        f"{fewest.queries:,.0f}"
    ]


def as_json(found: Plan, rates: Rates) -> dict[str, object]:
    """Everything; null for what is not known."""
    return {
        "stages": [as_numbers(one) for one in found.stages],
        "total": as_numbers(found.total),
        "bounds": [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in vars(one).items()
            }
            | {"by": one.by}
            for one in found.bounds
        ],
        "rates": rates.machine,
        "gpu_rates_assumed": rates.gpu.assumed,
    }
