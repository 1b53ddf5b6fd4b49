"""Jobs of databases, from image sets to codes: how many there are, and what each costs."""

from collections.abc import Iterator

from nndefense.axes.shards import Shard, parse_shard_name
from nndefense.config import Config
from nndefense.core.tables import ROWS
from nndefense.database.engines.grid import CELL
from nndefense.features.names import is_rmac
from nndefense.flow.costs import UNKNOWN, Job
from nndefense.flow.databases import attacker_shards, databases_of, is_kept, pool_passes, pools_of, shards_of
from nndefense.flow.encoders import pass_encoder, passes_of
from nndefense.flow.estimate import MB, MEMBER, SEAL, Estimate
from nndefense.flow.plan_attacks import attack_databases
from nndefense.retrieval.weights import weight_columns

# Megabytes of what pyarrow writes.
BUFFERS_MB = 25
# Beyond this many features a PCA is randomised (nndefense.features.pca, which imports SciPy): passes, and directions.
EXACT_DIMENSIONS, PASSES, OVERSAMPLED = 8192, 6, 32


def pool_jobs(at: Estimate) -> Iterator[Job]:
    """Pools; of those of a tag's images alone as if all images had one."""
    rates = at.rates
    for pool in at.config.pools.values():
        rows = sum(map(at.set_rows, pool.images))
        # The order of the others is a function: a table holds at most which images have a tag, as compactly.
        table = rows if pool.order == "table" or pool.tags == "task" else 0
        yield Job(
            script="build_pool",
            rows=rows,
            written=table * rates.pool_bytes + 8 * SEAL,
            serial=at.started("tables").seconds + rows * rates.pool_us * 1e-6,
            megabytes=at.started("tables").megabytes + BUFFERS_MB + (table * 50 if pool.order == "table" else 0) / MB,
        )


def list_jobs(at: Estimate, sets: list[str]) -> Iterator[Job]:
    """Manifests of image sets."""
    start = at.started("tables")
    for name in sets:
        rate, rows = at.of_set(name), at.set_rows(name)
        yield Job(
            script="list_images",
            rows=rows,
            written=rows * (UNKNOWN if rate.bytes is None else rate.bytes) + 2 * SEAL,
            serial=start.seconds + rows * rate.list_us * 1e-6,
            megabytes=start.megabytes + BUFFERS_MB + ROWS * 500 / MB,
        )


# -- features and codes


def fitted_pools(config: Config, layer: str) -> list[str]:
    """Pools with a PCA of a layer: table 3 tells its dimensions in the base pool, also where it is not evaluated there.

    Of layers pooled by R-MAC it does not.
    """
    return list(dict.fromkeys([*pools_of(config, layer), *([] if is_rmac(layer) else [config.base.pool])]))


def used_shards(config: Config, pool: str, layers: list[str] | None = None) -> list[Shard]:
    """Shards of the defence's database, and of attackers' where layers (None: all) hold the base one."""
    found = list(databases_of(config, pool).shards)
    if layers is None or config.base.features in layers:
        for database in attack_databases(config):
            found += map(parse_shard_name, attacker_shards(config, database)) if database.pool == pool else []
    return list(dict.fromkeys(found))


def extracted_shards(config: Config) -> Iterator[tuple[int, str, list[str], Shard]]:
    """Passes over shards: number of the entry of `features.layers`, pool, layers that it is asked for, shard."""
    asked = pool_passes(config)
    for number, pool, own in asked:
        yield from ((number, pool, own, shard) for shard in used_shards(config, pool, None if number == 0 else own))
    base = config.base.pool
    for number, layers in enumerate(passes_of(config)):
        fitted = any(base in fitted_pools(config, layer) for layer in layers)
        if fitted and (number, base) not in [one[:2] for one in asked]:
            sample = shards_of(config, base, config.features.pca_samples)
            yield from ((number, base, layers, parse_shard_name(shard)) for shard in sample)


def extraction_jobs(at: Estimate) -> Iterator[Job]:
    """Passes over shards, to features where these are kept, else to codes."""
    for number, pool, own, shard in extracted_shards(at.config):
        kept = is_kept(at.config, shard)
        # All layers of a pass are kept, but codes of those alone that the pool is asked for.
        layers = passes_of(at.config)[number] if kept else own
        yield _extraction(at, number, pool, layers, shard[1] - shard[0], kept)


def _extraction(at: Estimate, number: int, pool: str, layers: list[str], rows: int, kept: bool) -> Job:
    config, side = at.config, at.pool_side(pool)
    network = at.network(pass_encoder(config, number), side)
    flop = network.passes[number] if network else UNKNOWN
    features = [at.dimension(layer, side) for layer in layers]
    each = 2 * sum(features) if kept else sum(at.code_bytes(layer, pool) for layer in layers)
    # With the rows go a checksum of each, and the sum of its image's pixels.
    store = stored_bytes(config) + 16 if number == 0 else 0
    written = rows * (each + store) + SEAL * (2 * len(layers) + (4 if number == 0 else 0))
    encoding = sum(2 * d * at.components(layer, pool) for layer, d in zip(layers, features, strict=True))
    encoding = 0 if kept else rows * encoding
    start, batch = at.started("torch"), min(config.features.batch, rows)
    pixels = 3 * side**2 if side else UNKNOWN
    held = network.held if network else UNKNOWN
    return Job(
        script="extract_features",
        rows=rows,
        written=written,
        temporary=rows * each if kept and not config.features.keep else 0,
        forward=rows,
        flop=rows * flop + encoding,
        serial=start.seconds
        + at.opened_seconds
        + rows * at.reading_images(config.pools[pool].images)
        + encoding / at.rates.encode_gflops * 1e-9
        + at.writing(written),
        parallel=rows * at.forward_seconds(network, flop),
        device=at.device_seconds(rows * flop),
        threads=config.threads,
        megabytes=start.megabytes + at.opened_megabytes + batch * (5 * pixels + held + 8 * sum(features)) / MB,
    )


def stored_bytes(config: Config) -> int:
    """Bytes of a stored softmax row and its confidence weights."""
    return config.classes * (2 if config.classes <= 16384 else 4) + 4 * len(weight_columns())


def pca_jobs(at: Estimate) -> Iterator[Job]:
    """PCAs of layers on the first images of pools."""
    start = at.started("scipy")
    for layer in at.config.features.names:
        for pool in fitted_pools(at.config, layer):
            rows, d, kept = at.sample(pool), at.dimension(layer, at.pool_side(pool)), at.components(layer, pool)
            # Moments and their eigenvectors (about 9 d^3), or products of the rows with some directions.
            width = kept + OVERSAMPLED
            exact = not d > EXACT_DIMENSIONS
            flop = 2 * rows * d**2 + 9 * d**3 if exact else 4 * PASSES * rows * d * width
            read = rows * d * 2 * (1 if exact else PASSES)
            yield Job(
                script="fit_pca",
                rows=rows,
                read=read,
                written=d * 8 + kept * (4 * d + 16) + 5 * MEMBER,
                flop=flop,
                serial=start.seconds + at.reading(read),
                parallel=flop / at.rates.pca_gflops * 1e-9,
                threads=at.config.threads,
                megabytes=start.megabytes + (24 * d**2 if exact else 24 * d * width) / MB + 4096 * d * 4 / MB,
            )


def encode_jobs(at: Estimate) -> Iterator[Job]:
    """Features that were kept, to codes."""
    config, start = at.config, at.started("scipy")
    for _, pool, own in pool_passes(config):
        wanted = any(pool in pools_of(config, layer) for layer in own)
        for first, stop in used_shards(config, pool, own) if wanted else []:
            if not is_kept(config, (first, stop)):
                continue
            rows, side = stop - first, at.pool_side(pool)
            read = 2 * rows * sum(at.dimension(layer, side) for layer in own)
            written = sum(rows * at.code_bytes(layer, pool) + SEAL for layer in own)
            flop = sum(2 * rows * at.dimension(layer, side) * at.components(layer, pool) for layer in own)
            largest = max(at.dimension(layer, side) * (at.components(layer, pool) * 4 + 1024 * 2) for layer in own)
            yield Job(
                script="encode_features",
                rows=rows,
                read=read,
                written=written,
                flop=flop,
                serial=start.seconds + at.reading(read) + at.writing(written),
                parallel=flop / at.rates.encode_gflops * 1e-9,
                threads=config.threads,
                megabytes=start.megabytes + 2 * largest / MB,
            )


def left_out_jobs(at: Estimate) -> Iterator[Job]:
    """Searches for test images in shards, where these are left out."""
    config, start = at.config, at.started("numpy")
    for layer in config.features.names if config.queries.leave_out != "nothing" else []:
        for pool in pools_of(config, layer):
            for first, stop in used_shards(config, pool, [layer]):
                rows, d = stop - first, at.components(layer, pool)
                near = config.queries.leave_out == "near"
                read = rows * (8 + (at.code_bytes(layer, pool) if near else 0))
                flop = 2 * rows * at.queries * d if near else 0
                yield Job(
                    script="leave_out_copies",
                    rows=rows,
                    read=read,
                    written=SEAL,
                    flop=flop,
                    serial=start.seconds + at.reading(read) + flop / at.rates.encode_gflops * 1e-9,
                    megabytes=start.megabytes + (8 * rows + CELL * d * 4) / MB,
                )
