"""Common to all rules: the checked configuration, the plan made from it, and wildcards' meaning."""

import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from nndefense.config import read_schema, validate_config
from nndefense.errors import NNDefenseError
from nndefense.report.pieces import PIECES, labels
from nndefense.settings import Settings
from nndefense.workflow import Plan

try:
    validate_config(config, read_schema(Path(workflow.basedir, "schemas", "config.schema.yaml")))
except NNDefenseError as error:
    raise WorkflowError(f"configuration: {error}") from None

PLAN = Plan(config, workflow.basedir)
TARGET = config["target"]
ENVIRONMENT = f"../envs/{config['environment']}.yaml"
FIRST_PASS = PLAN.first_pass()
BASE_LAYER = [config["base"]["features"]]
TABLE_LAYERS = [*BASE_LAYER, *(layer for layer in PLAN.layers if layer not in [*BASE_LAYER, *PLAN.plain_layers])]
MAIN_POOL = PLAN.main_pool


def one_of(names):
    """A wildcard pattern that matches these names only."""
    return "|".join(names) or "none^"


def kept(path):
    """Features before PCA are large: temporary, unless the configuration keeps them."""
    return path if config["features"]["keep"] else temp(path)


def note_first_pass():
    """Remember which layers share the first forward pass (see Plan.first_pass)."""
    if not PLAN.ledger().exists():
        PLAN.ledger().parent.mkdir(parents=True, exist_ok=True)
        PLAN.ledger().write_text(json.dumps(FIRST_PASS), encoding="utf-8")


def rest_between_jobs():
    """Let the scheduler look for jobs when one has ended, and not besides.

    Snakemake 9 limits how many jobs it starts a second, for the sake of clusters. Each look then sets a timer for the
    next, so that they multiply with every job that ends: after hundreds the main process fills a core. Jobs on this
    machine need no limit.
    """
    scheduler = getattr(workflow, "scheduler", None)
    if workflow.local_exec and hasattr(scheduler, "job_rate_limiter"):
        scheduler.job_rate_limiter = None


# Jobs run with the Python that runs Snakemake, also where its environment is not activated; conda brings its own.
if not any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method):
    shell.prefix(f"export PATH={Path(sys.executable).parent}:$PATH; ")


wildcard_constraints:
    set=one_of(config["images"]),
    model=one_of(config["models"]),
    pool=one_of(config["pools"]),
    layer=one_of(dict.fromkeys([*PLAN.layers, *FIRST_PASS])),
    shard=r"\d+-\d+",
    queries=one_of([*PLAN.queries, *(name for defense in config["defenses"] for name in PLAN.own_queries(defense))]),
    space=r"raw01|standardized",
    setting=one_of(["gray_box", "black_box", *(f"gray_box-{defense}" for defense in config["defenses"])]),
    database=r"\w+-\d+(-overlap-[0-9.]+)?",
    attack=one_of(config["attacks"]["methods"]),
    defense=one_of(config["defenses"]),
    epsilon=r"[0-9.e-]+",


def pool_sets(wildcards, file):
    """A file of every image set that a pool draws from."""
    return [f"<results>/images/{name}/{file}" for name in config["pools"][wildcards.pool]["images"]]


def pooled(layers):
    """Sides of the pooled maps that the configuration changes, of these layers; None without any."""
    return {layer: side for layer, side in config["features"]["pooled"].items() if layer in layers} or None


def extraction(layers, shard=None):
    """Settings of a forward pass that yields these layers; of a database shard, or of a query set without one."""
    return Settings(
        batch=config["features"]["batch"],
        pooled=pooled(layers),
        shard=shard,
        skip_limit=config["skip_limit"],
    )


def base_values(*axes):
    """The values that a table or figure holds fixed on these axes."""
    return {axis: config["base"][axis] for axis in axes}


def caption(name):
    """Caption of a figure or table: the one written from this run's claims, until then one that says so."""
    path = Path(PLAN.results, "captions", f"{name}.rst").absolute()
    return str(path) if path.exists() else "../report/unjudged.rst"


def shown(path):
    """A figure or table, or the CSV beside it, as an output that the report shows."""
    name, kind = Path(path).stem, Path(path).suffix.removeprefix(".")
    piece = PIECES[name]
    return report(
        path,
        caption=caption(name),
        category=piece.category,
        labels=labels(piece, kind, config["base"]["attack"], config["attacks"]["settings"]),
    )
