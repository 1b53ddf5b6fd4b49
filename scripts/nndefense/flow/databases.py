"""Pools and their shards, as a configuration cuts them."""

from nndefense.axes.databases import Databases
from nndefense.axes.shards import Shard, parse_shard_name, shard_name
from nndefense.axes.threat import AttackDatabase
from nndefense.config import Config
from nndefense.config.base import flat
from nndefense.database.engines import EXACT
from nndefense.features.names import is_rmac
from nndefense.flow.encoders import passes_of


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


def is_kept(config: Config, shard: Shard) -> bool:
    """Whether features of a shard go to the disk: for the PCA, or because the configuration keeps them."""
    return config.features.keep or shard[0] < config.features.pca_samples


def kept_shards(config: Config) -> tuple[list[str], list[str]]:
    """Names of the shards whose features go to the disk, and of the others."""
    every = dict.fromkeys(one for pool in config.pools for one in databases_of(config, pool).every)
    kept, others = ([shard_name(one) for one in every if is_kept(config, one) == wanted] for wanted in (True, False))
    return kept, others


def is_indexed(config: Config, layer: str) -> bool:
    """Whether a layer is searched by an approximate index; bits never are."""
    return config.index.factory != EXACT and not is_rmac(layer)


def pool_passes(config: Config) -> list[tuple[int, str, list[str]]]:
    """Passes over a pool: number of the entry of `features.layers`, pool, those of its layers that are evaluated on it.

    The first entry's pass gives the softmax rows, so every pool has it, with its first layer where none is evaluated.
    """
    passes = passes_of(config)
    every = [
        (number, pool, [layer for layer in layers if pool in pools_of(config, layer)])
        for number, layers in enumerate(passes)
        for pool in config.pools
    ]
    return [(number, pool, own or passes[0][:1]) for number, pool, own in every if own or number == 0]


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
