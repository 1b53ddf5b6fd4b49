"""Pools and their shards, as a configuration cuts them."""

from nndefense.axes.databases import Databases
from nndefense.axes.shards import parse_shard_name, shard_name
from nndefense.axes.threat import AttackDatabase
from nndefense.config import Config
from nndefense.config.base import flat


def databases_of(config: Config, pool: str) -> Databases:
    """The databases of a pool."""
    white_box, own = config.attacks.white_box, config.pools[pool]
    overlaps = white_box.overlaps if white_box and white_box.pool == pool else ()
    return Databases(
        pool,
        tuple(own.values),
        tuple(overlaps),
        ends=tuple(max(flat([one])) for one in own.sizes),
        sample=config.features.pca_samples,
        shard_rows=config.shard_rows,
        span_rows=config.index.rows_per_job,
    )


def shards_of(config: Config, pool: str, rows: int | None = None) -> list[str]:
    """Shards of a pool by name, or only those that begin within its first `rows` images."""
    return [shard_name(one) for one in databases_of(config, pool).shards if rows is None or one[0] < rows]


def kept_shards(config: Config) -> tuple[list[str], list[str]]:
    """Names of the shards whose features go to the disk (for the PCA, or because they are kept), and of the others."""
    every = dict.fromkeys(one for pool in config.pools for one in databases_of(config, pool).every)
    kept = [one for one in every if config.features.keep or one[0] < config.features.pca_samples]
    return list(map(shard_name, kept)), [shard_name(one) for one in every if one not in kept]


def shards_within(config: Config, pool: str, span: str) -> list[str]:
    """Shards of a span, by name."""
    return [shard_name(one) for one in databases_of(config, pool).within(parse_shard_name(span))]


def stops_within(config: Config, pool: str, span: str) -> list[int]:
    """Rows of a span behind which the nearest are listed."""
    return databases_of(config, pool).stops(parse_shard_name(span))


def attacker_lists(config: Config, database: AttackDatabase) -> list[tuple[str, int]]:
    """Spans of an attacker's database by name, and the stop up to which each belongs to it."""
    return [(shard_name(span), stop) for span, stop in databases_of(config, database.pool).lists_of(database)]


def span_names(config: Config, pool: str) -> list[str]:
    """Spans of a pool's largest database, by name."""
    databases = databases_of(config, pool)
    return [shard_name(one) for one in databases.spans if one[1] <= databases.sizes[-1]]


def neighbors_place(config: Config, pool: str) -> str:
    """Folder, within a pool's, of lists of the nearest in every size: those of its one span, or merged ones."""
    spans = span_names(config, pool)
    return spans[0] if len(spans) == 1 else "merged"


def attacker_shards(config: Config, database: AttackDatabase) -> list[str]:
    """Shards of an attacker's database, by name."""
    return [shard_name(one) for one in databases_of(config, database.pool).shards_of(database)]


def pools_of(config: Config, layer: str) -> list[str]:
    """Pools that a layer is evaluated on."""
    chosen = config.features.ablation_pools
    if chosen is None or layer == config.base.features:
        return list(config.pools)
    return [pool for pool in config.pools if pool in chosen]
