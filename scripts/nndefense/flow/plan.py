"""A plan: what every stage of an experiment costs before anything runs, and what bounds it."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from nndefense.axes.shards import parse_shard_name
from nndefense.config import Config
from nndefense.features.names import is_rmac
from nndefense.flow.batches import searched_batches
from nndefense.flow.costs import Job, Stage, stages_of, together
from nndefense.flow.databases import is_indexed, pools_of, span_names
from nndefense.flow.estimate import Estimate, Facts
from nndefense.flow.plan_answers import query_jobs, vote_jobs
from nndefense.flow.plan_attacks import attack_jobs, clean_jobs
from nndefense.flow.plan_databases import encode_jobs, extraction_jobs, left_out_jobs, list_jobs, pca_jobs, pool_jobs
from nndefense.flow.plan_others import asked_sets, other_jobs
from nndefense.flow.plan_searches import asked_queries, index_jobs, search_job, search_jobs
from nndefense.flow.rates import Rates


@dataclass(frozen=True)
class Bound:
    """What bounds the searches that one job makes of a span.

    Attributes:
        batch: word of the query sets. layer, pool, span: what is searched.
        queries: images that are compared with each row. threshold: above it, computing takes longer than reading.
    """

    batch: str
    layer: str
    pool: str
    span: str
    queries: float
    threshold: float

    @property
    def by(self) -> str:
        """computing or reading."""
        return "computing" if self.queries > self.threshold else "reading"


@dataclass(frozen=True)
class Plan:
    """What an experiment costs.

    Attributes:
        stages: by script, in the order of the data flow.
        total: all of them, one after the other.
        bounds: of the searches of the largest span of each layer and pool.
    """

    stages: list[Stage]
    total: Stage
    bounds: list[Bound]

    def dominant(self) -> tuple[str, float, str] | None:
        """The script that takes the most CPU hours (or GPU hours, where these are more), its share, and of which."""
        found = []
        for name, label in (("cpu_hours", "CPU hours"), ("gpu_hours", "GPU hours")):
            most, whole = max(self.stages, key=attrgetter(name)), getattr(self.total, name)
            if whole > 0:
                found.append((getattr(most, name), most.script, getattr(most, name) / whole, label))
        return max(found)[1:] if found else None


def plan_jobs(at: Estimate, more: Iterable[tuple[str, int]] = ()) -> list[Job]:
    """All jobs; more: scripts of figures, tables and pages, and their numbers."""
    return [
        *list_jobs(at, asked_sets(at.config)),
        *pool_jobs(at),
        *clean_jobs(at),
        *extraction_jobs(at),
        *pca_jobs(at),
        *encode_jobs(at),
        *left_out_jobs(at),
        *index_jobs(at),
        *attack_jobs(at),
        *query_jobs(at),
        *search_jobs(at),
        *vote_jobs(at),
        *other_jobs(at, more),
    ]


def make_plan(
    config: Config, facts: Facts, rates: Rates, *, cores: int, gpus: int, more: Iterable[tuple[str, int]] = ()
) -> Plan:
    """The plan of everything that a configuration asks for.

    Args:
        config: checked.
        facts: what is known of its images and networks.
        rates: of the machine.
        cores: that jobs share, >= 1.
        gpus: that jobs share; with 0 networks compute on cores.
        more: scripts of figures, tables and pages, and their numbers of jobs.
    """
    at = Estimate(config, facts, rates)
    stages = stages_of(plan_jobs(at, more), cores=cores, gpus=gpus)
    return Plan(stages, together(stages, "total"), search_bounds(at))


def compute_bound_above(gflops: float, megabytes_per_second: float, code_bytes: float, dimensions: float) -> float:
    """Queries of a pass above which computing takes longer than reading.

    A code is read in code_bytes / (bytes a second), and compared in 2 dimensions / (operations a second) by each query.
    In half precision that is (operations a second) / (bytes a second).
    """
    return gflops * 1e9 * code_bytes / (2 * dimensions * megabytes_per_second * 1e6)


def search_bounds(at: Estimate) -> list[Bound]:
    """What bounds the exact searches of the largest span of each layer and pool, by batch of query sets."""
    config, found = at.config, []
    for batch in searched_batches(config):
        for layer in batch.systems:
            for pool in pools_of(config, layer):
                span = max(span_names(config, pool), key=_rows_of)
                job, d = search_job(at, batch, layer, pool, span), at.components(layer, pool)
                if is_indexed(config, layer) or is_rmac(layer):
                    continue
                gflops = job.flop / job.parallel * 1e-9
                limit = compute_bound_above(gflops, at.rates.read_mb_per_s, at.code_bytes(layer, pool), d)
                found.append(Bound(batch.word, layer, pool, span, asked_queries(at, batch), limit))
    return found


def _rows_of(span: str) -> int:
    first, stop = parse_shard_name(span)
    return stop - first
