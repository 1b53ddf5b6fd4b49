"""Jobs of approximate indexes, searches and merges: how many there are, and what each costs."""

import re
from collections.abc import Iterator

from nndefense.axes.shards import parse_shard_name
from nndefense.config import Config
from nndefense.database.engines.grid import CELL
from nndefense.features.names import is_rmac
from nndefense.flow.batches import Batch, searched_batches
from nndefense.flow.costs import UNKNOWN, Job
from nndefense.flow.databases import attacker_lists, is_indexed, pools_of, span_names, stops_within
from nndefense.flow.estimate import MB, MEMBER, SEAL, Estimate
from nndefense.flow.plan_attacks import knowing_databases
from nndefense.flow.plan_databases import used_shards

# Bytes of a neighbour in a list: its id and its distance.
PLACE = 12
# FAISS clusters the sample of an inverted file so often, by so many codes a list.
ROUNDS, SAMPLED = 10, 256
# Bytes of a code in an index, of d numbers; PQ32 has 32.
INDEXED = {"Flat": 4.0, "SQ8": 1.0, "SQ4": 0.5, "SQ6": 0.75, "SQfp16": 2.0}


def index_bytes(factory: str, dimensions: float) -> float:
    """Bytes of a code and its id in an approximate index; UNKNOWN for parts of a factory string not known here."""
    last = factory.rpartition(",")[2]
    if last in INDEXED:
        return dimensions * INDEXED[last] + 8
    product = re.fullmatch(r"PQ(\d+)(?:x8)?(?:np)?", last)
    return int(product[1]) + 8 if product else UNKNOWN


def inverted_lists(factory: str) -> int:
    """Lists of an inverted file; 1 for others."""
    found = re.search(r"IVF(\d+)", factory)
    return int(found[1]) if found else 1


def index_jobs(at: Estimate) -> Iterator[Job]:
    """Approximate indexes: trained once for a layer and a pool, filled by shards."""
    config = at.config
    for layer in config.features.names:
        for pool in pools_of(config, layer) if is_indexed(config, layer) else []:
            yield _training_job(at, layer, pool)
            for first, stop in used_shards(config, pool, [layer]):
                yield _filling_job(at, layer, pool, stop - first)


def _training_job(at: Estimate, layer: str, pool: str) -> Job:
    lists, d, sample = inverted_lists(at.config.index.factory), at.components(layer, pool), at.sample(pool)
    start, read = at.started("faiss"), sample * at.code_bytes(layer, pool)
    flop = 2 * ROUNDS * min(sample, SAMPLED * lists) * lists * d
    return Job(
        script="train_index",
        rows=sample,
        read=read,
        written=lists * d * 4 + SEAL,
        flop=flop,
        serial=start.seconds + at.reading(read),
        parallel=flop / at.rates.search.gflops * 1e-9,
        threads=at.config.threads,
        megabytes=start.megabytes + 2 * sample * d * 4 / MB,
    )


def _filling_job(at: Estimate, layer: str, pool: str, rows: int) -> Job:
    factory, start, d = at.config.index.factory, at.started("faiss"), at.components(layer, pool)
    lists, read, stored = inverted_lists(factory), rows * at.code_bytes(layer, pool), rows * index_bytes(factory, d)
    flop = 2 * rows * lists * d
    return Job(
        script="build_index",
        rows=rows,
        read=read,
        written=stored + lists * d * 4 + SEAL,
        flop=flop,
        serial=start.seconds + at.reading(read) + at.writing(stored),
        parallel=flop / at.rates.search.gflops * 1e-9,
        threads=at.config.threads,
        megabytes=start.megabytes + (3 * stored + CELL * d * 4) / MB,
    )


def search_jobs(at: Estimate) -> Iterator[Job]:
    """Searches of spans for batches of query sets, and merges of their lists."""
    config = at.config
    for batch in searched_batches(config):
        for layer in batch.systems:
            for pool in pools_of(config, layer):
                spans = span_names(config, pool)
                asked = [*spans, *(_knowing_spans(config, pool) if is_knowing(config, batch, layer) else [])]
                yield from (search_job(at, batch, layer, pool, span) for span in dict.fromkeys(asked))
                if len(spans) > 1:
                    yield _merge(at, batch, pool, spans)


def is_knowing(config: Config, batch: Batch, layer: str) -> bool:
    """Whether attackers ask for the neighbours of these query sets: of the clean ones, by the base layer."""
    return layer == config.base.features and [str(pack) for pack in batch.packs] == ["clean"]


def _knowing_spans(config: Config, pool: str) -> list[str]:
    """Spans that attackers who know of the retrieval take neighbours from."""
    found = [one for one in knowing_databases(config) if one.pool == pool]
    return list(dict.fromkeys(span for one in found for span, _ in attacker_lists(config, one)))


def asked_queries(at: Estimate, batch: Batch) -> float:
    """Images of all query sets of a batch."""
    return sum(len(pack.epsilons) * at.pack_images(pack) for pack in batch.packs)


def search_job(at: Estimate, batch: Batch, layer: str, pool: str, span: str) -> Job:
    """A search of a span, by codes or by the indexes of its shards."""
    config, rates = at.config, at.rates.search
    first, stop = parse_shard_name(span)
    rows, queries, d = stop - first, asked_queries(at, batch), at.components(layer, pool)
    stops, indexed, start = len(stops_within(config, pool, span)), is_indexed(config, layer), at.started("faiss")
    lists = inverted_lists(config.index.factory) if indexed else 1
    share = min(1.0, (config.index.probes or 1) / lists)
    each = index_bytes(config.index.factory, d) if indexed else at.code_bytes(layer, pool)
    pairs = queries * rows * share
    flop = 2 * d * (pairs + (queries * lists if lists > 1 else 0))
    seconds = pairs * rates.bit_pair_ns * 1e-9 * d / 256
    if not is_rmac(layer):
        seconds = (flop / rates.gflops + pairs * rates.pair_ns) * 1e-9
    written = queries * stops * config.index.neighbors * PLACE + len(batch.packs) * 3 * MEMBER
    read = rows * each + queries * 2 * at.dimension(layer, at.query_side)
    held = config.shard_rows * each * 2 if indexed else CELL * (at.code_bytes(layer, pool) + 4 * d)
    memory = held + written * (2 + 4 / stops) + queries * d * 4
    return Job(
        script="search_span",
        rows=rows,
        read=read,
        written=written,
        flop=flop,
        serial=start.seconds + at.reading(read) + at.writing(written),
        parallel=seconds,
        threads=config.threads,
        megabytes=start.megabytes + memory / MB,
    )


def _merge(at: Estimate, batch: Batch, pool: str, spans: list[str]) -> Job:
    config, start, queries = at.config, at.started("numpy"), asked_queries(at, batch)
    stops = sum(len(stops_within(config, pool, span)) for span in spans)
    sizes = len(config.pools[pool].values)
    read, written = (queries * config.index.neighbors * PLACE * count for count in (stops, sizes))
    # A list of each size, and one for each span that ends, of two each.
    places = 2 * queries * config.index.neighbors * (sizes + len(spans))
    largest = max(len(pack.epsilons) * at.pack_images(pack) for pack in batch.packs)
    return Job(
        script="merge_neighbors",
        rows=queries,
        read=read,
        written=written + len(batch.packs) * 3 * MEMBER,
        serial=start.seconds + places * at.rates.search.merge_ns * 1e-9 + at.writing(written),
        megabytes=start.megabytes + largest * config.index.neighbors * PLACE * (stops + 3 * sizes) / MB,
    )
