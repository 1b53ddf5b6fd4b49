"""Pools and their shards, as a configuration cuts them."""

from nndefense.axes.databases import Databases
from nndefense.axes.shards import shard_name
from nndefense.axes.threat import AttackDatabase
from nndefense.config import Config


def databases_of(config: Config, pool: str) -> Databases:
    """The databases of a pool."""
    white_box = config.attacks.white_box
    overlaps = white_box.overlaps if white_box and white_box.pool == pool else ()
    return Databases(pool, tuple(sorted(config.pools[pool].sizes)), tuple(overlaps))


def shards_of(config: Config, pool: str, rows: int | None = None) -> list[str]:
    """Shards of a pool by name, or only those that begin within its first `rows` images."""
    return [shard_name(one) for one in databases_of(config, pool).shards if rows is None or one[0] < rows]


def attacker_shards(config: Config, database: AttackDatabase) -> list[str]:
    """Shards of an attacker's database, by name."""
    return [shard_name(one) for one in databases_of(config, database.pool).shards_of(database)]


def pools_of(config: Config, layer: str) -> list[str]:
    """Pools that a layer is evaluated on."""
    chosen = config.features.ablation_pools
    if chosen is None or layer == config.base.features:
        return list(config.pools)
    return [pool for pool in config.pools if pool in chosen]
