"""Extract features of several layers and the softmax row of every image of a shard, in one forward pass an image.

Features are written as they are, or as codes where the PCA is known; then they never reach the disk. Memory follows the
batch, not the shard. Unreadable images and those whose features are not finite keep their row, which is zero, and are
listed in files of their own.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from nndefense.axes.shards import parse_shard_name
from nndefense.core.arrays import stream_array, write_array
from nndefense.core.command import Job, computing_options, parser, run
from nndefense.core.memory import give_back
from nndefense.core.progress import Progress
from nndefense.core.skipped import check_skipped
from nndefense.database.copies import pixel_sums
from nndefense.database.row_checks import row_checks
from nndefense.database.softmax_store import to_stored
from nndefense.features.codes import stored_codes
from nndefense.features.stored_pca import read_pca
from nndefense.images.pool import Block, pool_blocks
from nndefense.retrieval.weights import stored_weights


class Writer:
    """Files of a shard, each begun with the first block that is written to it."""

    def __init__(self, stack: ExitStack, rows: int) -> None:
        self.stack, self.rows, self.append = stack, rows, {}

    def write(self, path: str, block: np.ndarray, facts: dict) -> None:
        if path not in self.append:
            written = stream_array(path, (self.rows, *block.shape[1:]), block.dtype, facts)
            self.append[path] = self.stack.enter_context(written)
        self.append[path](block)


def reducers(arguments: argparse.Namespace, layers: list[str]) -> dict[str, tuple[Callable, dict]]:
    """What is done to each layer's features before they are written, and facts about the result."""
    if not arguments.pca:
        return {layer: (lambda features, first: features, {}) for layer in layers}
    read = {layer: read_pca(path) for layer, path in zip(layers, arguments.pca, strict=True)}
    return {
        layer: (
            lambda features, first, pca=pca, layer=layer: stored_codes(pca, features, layer, first, arguments.type),
            {"pca": pca_id},
        )
        for layer, (pca, pca_id) in read.items()
    }


def summed(blocks: Iterator[Block], sums: np.ndarray) -> Iterator[Block]:
    """The blocks of a shard as they come, once the sums (n,) of their pixels are noted."""
    for rows, images, skipped in blocks:
        sums[rows] = pixel_sums(images, [place - rows.start for place in skipped])
        yield rows, images, skipped


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.features.blocks import feature_blocks
    from nndefense.features.extract import FeatureExtractor
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.computing import computing_of

    outputs = dict(zip(arguments.layers, arguments.features, strict=True))
    computing = computing_of(arguments, job)
    model, about = open_checkpoint(arguments.model)
    model = freeze(model)
    give_back()
    extractor = FeatureExtractor(model, list(outputs), json.loads(arguments.pooled), stop_early=not arguments.store)
    start, stop = shard = parse_shard_name(arguments.shard)
    facts = {"pool": Path(arguments.images).stem, "start": start, "stop": stop, "model": about["weights_sha256"]}
    pixels = np.zeros(stop - start, dtype=np.uint64)
    images = summed(pool_blocks(arguments.images, arguments.sets, shard, arguments.batch), pixels)
    reduce, skipped = reducers(arguments, list(outputs)), {}
    with ExitStack() as stack, Progress(" ".join(["extract", *outputs]), stop - start, "images", job.log) as progress:
        writer = Writer(stack, stop - start)
        for block in feature_blocks(extractor, images, arguments.batch, device, computing):
            for layer, path in outputs.items():
                change, more = reduce[layer]
                writer.write(
                    path, change(block.features[layer], start + block.rows.start), facts | {"layer": layer} | more
                )
            if arguments.store:
                rows = to_stored(block.softmax)
                checks = row_checks(rows, first=start + block.rows.start)
                found = rows, stored_weights(block.softmax), checks, pixels[block.rows]
                for path, values in zip(arguments.store, found, strict=True):
                    writer.write(path, values, facts)
            skipped |= block.skipped
            progress.advance(block.rows.stop - block.rows.start)
        job.say(check_skipped(skipped, stop - start, arguments.skip_limit))
    for layer, path in zip(outputs, arguments.skipped, strict=True):
        write_array(path, start + np.array(sorted(skipped), dtype=np.int64), facts | {"layer": layer})


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--images", required=True, help="pool (parquet)")
    options.add_argument("--sets", nargs="+", required=True, help="set.json of every image set of the pool")
    options.add_argument("--shard", required=True, help="rows of the pool, START-STOP")
    options.add_argument("--features", nargs="*", required=True, help=".npy to write, of each layer")
    options.add_argument("--layers", nargs="*", default=[], help="layers of one forward pass")
    options.add_argument("--pca", nargs="*", default=[], help="fitted PCA of each layer: write codes instead")
    options.add_argument("--type", choices=["float32", "float16"], default="float32", help="of codes that are no bits")
    options.add_argument("--skipped", nargs="*", default=[], help="rows without features by layer, .npy to write")
    options.add_argument(
        "--store", nargs="*", default=[], help="softmax rows, their weights and checks, pixel sums to write, .npy"
    )
    options.add_argument("--pooled", default="{}", help="side of the pooled map by layer, as JSON")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    run(main, computing_options(options).parse_args())
