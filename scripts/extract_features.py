"""Extract features of several layers and the softmax row of every image, in one forward pass an image.

The images are a shard of a pool (parquet, with the sets it draws from) or a pack of query sets (.npz). Unreadable
images and those whose features are not finite keep their row, filled with zeros, and are listed in the files' trailers.
"""

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nndefense.axes.queries import Pack
from nndefense.axes.shards import parse_shard_name
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_arrays, read_json, read_table, write_array
from nndefense.core.progress import Progress, blocks
from nndefense.core.skipped import check_skipped, usable
from nndefense.database.softmax_store import to_half
from nndefense.features.names import layer_in_path
from nndefense.images.pool import PoolReader
from nndefense.retrieval.weights import stored_weights

Block = tuple[slice, np.ndarray, dict[int, str]]


def shard_blocks(pool: str, sets: list[str], shard: tuple[int, int], size: int) -> Iterator[Block]:
    """Images of a shard in blocks, uint8 (b, H, W, 3); the next block is read while one is computed."""
    columns = read_table(pool, "set", "row")
    start, stop = shard
    if stop > len(columns["row"]):
        raise InputError(f"{pool}: holds {len(columns['row']):,} images, a database of {stop:,} was asked for")
    reader = PoolReader(columns["set"], columns["row"], map(read_json, sets))

    def read(block: slice) -> Block:
        batch = reader.read(range(start + block.start, start + block.stop))
        return block, batch.images, {block.start + place: reason for place, reason in batch.skipped.items()}

    parts = list(blocks(stop - start, size))
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(read, parts[0])
        for number in range(len(parts)):
            ready, ahead = ahead, thread.submit(read, parts[number + 1]) if number + 1 < len(parts) else None
            yield ready.result()


def query_blocks(path: str, pack: Pack, count: int, size: int) -> Iterator[Block]:
    """Images of the query sets of a pack in blocks, set after set, float32 (b, 3, H, W)."""
    for number, queries in enumerate(pack):
        images = read_arrays(path, f"{queries.member}/images")[f"{queries.member}/images"]
        for block in blocks(count, size):
            yield slice(number * count + block.start, number * count + block.stop), images[block], {}


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.features.extract import FeatureExtractor, extract_features, finite_rows
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    outputs = {layer_in_path(path): path for path in arguments.features}
    model, about = open_checkpoint(arguments.model)
    extractor = FeatureExtractor(
        freeze(model), list(outputs), json.loads(arguments.pooled), stop_early=not arguments.store
    )
    size = arguments.batch * 4
    if arguments.shard:
        shard = parse_shard_name(arguments.shard)
        total, images = shard[1] - shard[0], shard_blocks(arguments.images, arguments.sets, shard, size)
        facts = {"pool": Path(arguments.images).stem, "start": shard[0], "stop": shard[1]}
    else:
        pack, count = Pack.parse(arguments.queries_name), len(read_arrays(arguments.images, "labels")["labels"])
        total, images = count * len(pack.epsilons), query_blocks(arguments.images, pack, count, size)
        facts = {"start": 0, "stop": total, "sets": [queries.member for queries in pack]}
    features: dict[str, np.ndarray] = {}
    softmax = np.full((total, about["classes"]), 1 / about["classes"], np.float32)
    skipped: dict[int, str] = {}
    with Progress("extract " + " ".join(outputs), total, "images", job.log) as progress:
        for block, pixels, bad in images:
            values, rows = extract_features(extractor, pixels, arguments.batch, device)
            finite = finite_rows(*values.values(), *([] if rows is None else [rows]))
            bad |= {block.start + int(place): "features not finite" for place in np.flatnonzero(~finite)}
            here = usable(block.stop - block.start, (place - block.start for place in bad))
            good = here + block.start
            for layer, value in values.items():
                if layer not in features:
                    features[layer] = np.zeros((total, value.shape[1]), np.float16)
                features[layer][good] = np.clip(value[here], -65504, 65504)
            if rows is not None:
                softmax[good] = rows[here]
            skipped |= bad
            progress.advance(block.stop - block.start)
    job.say(check_skipped(skipped, total, arguments.skip_limit))
    facts |= {"model": about["weights_sha256"], "skipped": sorted(skipped)}
    for layer, path in outputs.items():
        write_array(path, features[layer], facts | {"layer": layer})
    if arguments.store:
        store, weights = arguments.store
        write_array(store, to_half(softmax), facts)
        write_array(weights, stored_weights(softmax), facts)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--images", required=True, help="pool (parquet) or query sets (.npz)")
    options.add_argument("--sets", nargs="*", default=[], help="set.json of every image set of the pool")
    options.add_argument("--shard", help="rows of the pool, START-STOP")
    options.add_argument("--queries-name", help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]")
    options.add_argument("--features", nargs="+", required=True, help=".npy to write, its path names the layer")
    options.add_argument("--store", nargs="*", default=[], help="softmax rows and confidence weights to write, .npy")
    options.add_argument("--pooled", default="{}", help="side of the pooled map by layer, as JSON")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    run(main, options.parse_args())
