"""Jobs of query sets that are put through the network and answered by votes; and how many other jobs there are."""

from collections.abc import Iterator

from nndefense.flow.batches import Batch, searched_batches
from nndefense.flow.costs import UNKNOWN, Job
from nndefense.flow.databases import databases_of, pools_of
from nndefense.flow.encoders import pass_encoder, passes_of
from nndefense.flow.estimate import MB, MEMBER, SEAL, Estimate
from nndefense.flow.plan_attacks import NAMED
from nndefense.flow.plan_databases import stored_bytes
from nndefense.flow.plan_searches import asked_queries
from nndefense.retrieval.weights import weight_columns

# Weightings and combinations that votes were measured with.
MEASURED_VOTES = 3 * 2
# Megabytes of rows that votes hold at a time, about.
VOTED_MB = 10


def query_jobs(at: Estimate) -> Iterator[Job]:
    """Passes over batches of query sets; that of the first entry of `features.layers` gives the bare answers, too."""
    for number, layers in enumerate(passes_of(at.config)):
        for batch in searched_batches(at.config):
            if number == 0 or set(layers) & set(batch.systems):
                yield _query_job(at, batch, number, layers)


def _query_job(at: Estimate, batch: Batch, number: int, layers: list[str]) -> Job:
    config, side = at.config, at.query_side
    network, rows, start = at.network(pass_encoder(config, number), side), asked_queries(at, batch), at.started("torch")
    flop = network.passes[number] if network else UNKNOWN
    features = 2 * sum(at.dimension(layer, side) for layer in layers)
    store = stored_bytes(config) if number == 0 else 0
    written = rows * (features + store) + len(batch.packs) * SEAL * (len(layers) + 2)
    held, read = network.held if network else UNKNOWN, rows * 4 * at.pixels
    largest = max(at.pack_images(pack) for pack in batch.packs)
    block = min(config.features.batch, largest)
    return Job(
        script="extract_queries",
        rows=rows,
        read=read,
        written=written,
        forward=rows,
        flop=rows * flop,
        serial=start.seconds + at.writing(written),
        parallel=rows * at.forward_seconds(network, flop),
        device=at.device_seconds(rows * flop),
        threads=config.threads,
        megabytes=start.megabytes + (block * (held + 4 * features) + largest * (4 * at.pixels + 3 * features)) / MB,
    )


def vote_jobs(at: Estimate) -> Iterator[Job]:
    """Votes of every layer on every batch of query sets."""
    for batch in searched_batches(at.config):
        yield from (_vote_job(at, batch, layer) for layer in batch.systems)


def _vote_job(at: Estimate, batch: Batch, layer: str) -> Job:
    config, start, rates = at.config, at.started("numpy"), at.rates.votes
    pools = pools_of(config, layer)
    sizes = sum(len(config.pools[pool].values) for pool in pools)
    votes = len(config.votes.weightings) * len(config.votes.combinations)
    queries, members = asked_queries(at, batch), sum(len(pack.epsilons) for pack in batch.packs)
    neighbors = queries * sizes * max(config.votes.neighbors)
    cells = sizes * len(config.votes.neighbors) * votes
    # Weights, checks and sums of pixels are read as a whole, softmax rows where a neighbour is, each once.
    stored = sum(databases_of(config, pool).sizes[-1] for pool in pools)
    read = stored * (4 * len(weight_columns()) + 16) + queries * sizes * config.index.neighbors * 8
    written = queries * (cells * 2 + 8) + members * cells * MEMBER
    written += sum(at.pack_images(pack) for pack in batch.packs) * NAMED
    each = rates.row_ns + rates.class_ns * config.classes
    held = max(at.pack_images(pack) * len(pack.epsilons) for pack in batch.packs) * sizes * config.index.neighbors * 8
    return Job(
        script="vote",
        rows=queries,
        read=read,
        written=written,
        serial=start.seconds
        + neighbors * each * 1e-9 * votes / MEASURED_VOTES
        + at.reading(read)
        + at.writing(written),
        megabytes=start.megabytes + VOTED_MB + (held + written / len(batch.packs)) / MB,
    )
