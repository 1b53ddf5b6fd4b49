"""Extract features of several layers and softmax rows of packs of query sets, in one forward pass an image.

Images whose features are not finite keep their row, filled with zeros, and are listed in the files' trailers.
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np

from nndefense.axes.queries import Pack
from nndefense.core.arrays import read_arrays, write_array
from nndefense.core.command import Job, computing_options, parser, run
from nndefense.core.memory import give_back
from nndefense.core.progress import Progress, blocks
from nndefense.core.skipped import check_skipped
from nndefense.database.softmax_store import to_stored
from nndefense.images.classes import check_network
from nndefense.retrieval.weights import stored_weights


def query_blocks(path: str, pack: Pack, count: int, size: int) -> Iterator[tuple[slice, np.ndarray, dict[int, str]]]:
    """Images of the query sets of a pack in blocks, set after set, float32 (b, 3, H, W)."""
    for number, queries in enumerate(pack):
        images = read_arrays(path, f"{queries.member}/images")[f"{queries.member}/images"]
        for block in blocks(count, size):
            yield slice(number * count + block.start, number * count + block.stop), images[block], {}


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.features.blocks import feature_blocks
    from nndefense.features.extract import FeatureExtractor
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.computing import computing_of

    computing = computing_of(arguments, job)
    model, about = open_checkpoint(arguments.model)
    model = freeze(model)
    give_back()
    extractor = FeatureExtractor(model, arguments.layers, json.loads(arguments.pooled), stop_early=not arguments.store)
    each = len(arguments.layers)
    for number, (name, path) in enumerate(zip(arguments.names, arguments.images, strict=True)):
        check_network(about, path)
        pack, count = Pack.parse(name), len(read_arrays(path, "labels")["labels"])
        total = count * len(pack.epsilons)
        with Progress(f"extract {name}", total, "images", job.log) as progress:
            found = []
            images = query_blocks(path, pack, count, arguments.batch)
            for block in feature_blocks(extractor, images, arguments.batch, device, computing):
                found.append(block)
                progress.advance(block.rows.stop - block.rows.start)
        skipped = {row: reason for block in found for row, reason in block.skipped.items()}
        job.say(f"{name}: {check_skipped(skipped, total, arguments.skip_limit)}")
        facts = {"start": 0, "stop": total, "sets": [queries.member for queries in pack]}
        facts |= {"model": about["weights_sha256"], "skipped": sorted(skipped)}
        outputs = arguments.features[number * each : (number + 1) * each]
        for layer, output in zip(arguments.layers, outputs, strict=True):
            features = np.concatenate([block.features[layer] for block in found])
            write_array(output, features, facts | {"layer": layer})
        if arguments.store:
            softmax = np.concatenate([block.softmax for block in found])
            store, weights = arguments.store[2 * number : 2 * number + 2]
            write_array(store, to_stored(softmax), facts)
            write_array(weights, stored_weights(softmax), facts)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument(
        "--names", nargs="+", required=True, help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]"
    )
    options.add_argument("--images", nargs="+", required=True, help="their query sets (.npz), in the same order")
    options.add_argument("--layers", nargs="*", default=[], help="layers of one forward pass")
    options.add_argument("--features", nargs="*", required=True, help=".npy to write: of each pack all layers")
    options.add_argument("--store", nargs="*", default=[], help="softmax rows and weights of each pack to write, .npy")
    options.add_argument("--pooled", default="{}", help="side of the pooled map by layer, as JSON")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unusable images")
    run(main, computing_options(options).parse_args())
