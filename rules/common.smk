"""Common to all rules: the checked configuration, the code that a job depends on, and wildcards' meaning."""

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(os.path.relpath(Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent))
sys.path.insert(0, str(BASE.resolve() / "scripts"))

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import BALLS, Ball
from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.axes.queries import CLEAN, WORST, Pack
from nndefense.axes.threat import ADAPTIVE, AttackDatabase, Threat
from nndefense.config import load_config
from nndefense.config.files import check_files
from nndefense.core.errors import NNDefenseError
from nndefense.core.fingerprint import fingerprint
from nndefense.core.params import Params
from nndefense.core.whose import VARIABLE
from nndefense.defenses import DEFENSES
from nndefense.evaluation import KINDS, SUMMARIES
from nndefense.flow.batches import answered_batches, searched_batches
from nndefense.flow.databases import (
    attacker_lists,
    attacker_shards,
    is_indexed,
    kept_shards,
    neighbors_place,
    pool_passes,
    pools_of,
    shards_of,
    shards_within,
    span_names,
    stops_within,
)
from nndefense.flow.encoders import encoder_of, layer_place, pass_encoder, passes_of, searched_layers
from nndefense.flow.models import (
    architecture_targets,
    computing_values,
    defense_kind,
    defense_options,
    image_targets,
    method_needs,
    trained_models,
    training_targets,
)
from nndefense.flow.needs import attack_needs, defense_needs, packs_needs, pooled_sides
from nndefense.flow.queries import (
    attacked_defense,
    attacked_model,
    file_of,
    method_options,
    tried_packs,
)
from nndefense.flow.rows import all_files, summary_files, system_answers
from nndefense.flow.shells import literal, shell_prefix
from nndefense.flow.shipped import library_alone

try:
    check_files(workflow.configfiles)
    CONFIG = load_config(config)
except NNDefenseError as error:
    raise WorkflowError(f"configuration: {error}") from None

TARGET = CONFIG.target
RESULTS = f"results/{CONFIG.run}" if CONFIG.run else "results"
# Snakemake takes braces in the path, those of a checkout's folder too, for wildcards.
ENVIRONMENT = literal(BASE.resolve() / "envs" / f"{CONFIG.environment}.yaml")
PASSES = passes_of(CONFIG)
SEARCHED, ANSWERED = searched_batches(CONFIG), answered_batches(CONFIG)
KEPT_SHARDS, CODED_SHARDS = kept_shards(CONFIG)
POOL_PASSES = pool_passes(CONFIG)


def script(name):
    """Path of a script, relative to the working directory; never one that Python takes for an option."""
    path = str(BASE / "scripts" / f"{name}.py")
    return f"./{path}" if path.startswith("-") else path


def job(program, /, *targets, **values):
    """Parameters of a job: its script and values; it runs again when they change, or code that it can reach.

    targets: what the script finds by name, as registry targets.
    """
    return Params(script(program), fingerprint(script(program), targets), **values)


def one_of(names):
    """A wildcard pattern that matches these names only."""
    return "|".join(re.escape(str(name)) for name in names) or "none^"


def kept(path):
    """Features before PCA are large: temporary, unless the configuration keeps them."""
    return path if CONFIG.features.keep else temp(path)


def pool_sets(pool, file):
    """A file of every image set that a pool draws from."""
    return [f"<results>/images/{name}/{file}" for name in CONFIG.pools[pool].images]


def pool_targets(pool):
    """Registry targets of the image sets that a pool draws from."""
    return image_targets(CONFIG, *CONFIG.pools[pool].images)


def rest_between_jobs():
    """Let the scheduler look for jobs when one has ended, and not besides.

    Snakemake 9 limits how many jobs it starts a second, for the sake of clusters. Each look then sets a timer for the
    next, so that they multiply with every job that ends: after hundreds the main process fills a core. Jobs on this
    machine need no limit.
    """
    scheduler = getattr(workflow, "scheduler", None)
    if workflow.local_exec and hasattr(scheduler, "job_rate_limiter"):
        scheduler.job_rate_limiter = None


# What a job reads must belong to the run that it works for. Jobs run with the Python that runs Snakemake, also where its
# environment is not activated; conda brings its own.
CONDA = any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method)
BEFORE = getattr(shell, "_process_prefix", None)
LIBRARY = library_alone(BASE / "scripts", Path(".snakemake", "nndefense")) if CONDA else {}
shell.prefix(shell_prefix(None if CONDA else sys.executable, BEFORE, **{VARIABLE: RESULTS}, **LIBRARY))


wildcard_constraints:
    set=one_of(CONFIG.images),
    model=one_of(CONFIG.models),
    pool=one_of(CONFIG.pools),
    layer=one_of(CONFIG.features.names),
    shard=r"\d+-\d+",
    span=r"\d+-\d+",
    ball=one_of(BALLS),
    threat=r"((gray|black|white)_box|adaptive)(-[\w.-]+)?",
    database=r"\w+-\d+(-overlap-[0-9.e-]+)?",
    attack=one_of(ATTACKS),
    defense=one_of([NO_DEFENSE, *CONFIG.defenses]),
    kind=one_of(KINDS),
    summary=one_of(SUMMARIES),
