"""Measure the sizes of feature maps in a forward pass: of the run's model, and of the paper's network at its size."""

import argparse
import json

from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.files import write_json

PAPER_NETWORK = ("resnet50", 1000, 224)


def main(arguments: argparse.Namespace, job: Job) -> None:
    job.torch_device()
    import torch

    from nndefense.features.layers import default_layers
    from nndefense.features.measure import measure_layers
    from nndefense.models.build import build_model
    from nndefense.models.checkpoint import open_checkpoint

    model, about = open_checkpoint(arguments.model)
    pixels = read_arrays(arguments.queries, "clean/images")["clean/images"][:1]
    dimensions = {
        layer: len(read_arrays(path, "components")["components"])
        for layer, path in zip(arguments.layers, arguments.pca, strict=True)
    }
    source = f"{about['architecture']}, {pixels.shape[-1]} px"
    sides = json.loads(arguments.pooled)
    sizes = [
        {"source": source, "layer": layer, "pca_dim": dimensions[layer]} | size
        for layer, size in measure_layers(model, arguments.layers, torch.from_numpy(pixels), sides).items()
    ]
    name, classes, side = PAPER_NETWORK
    # Sizes do not depend on the weights, so random ones do, and nothing is downloaded.
    network = build_model(name, classes, [0.5] * 3, [0.25] * 3)
    reference = f"{name}, {side} px"
    sizes += [
        {"source": reference, "layer": layer, "pca_dim": None} | size
        for layer, size in measure_layers(network, default_layers(network), torch.rand(1, 3, side, side), {}).items()
    ]
    write_json(arguments.output, {"reference": reference, "layers": sizes})
    job.say(f"{len(sizes)} layers")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--queries", required=True, help="clean query set, .npz; its first image is measured")
    options.add_argument("--layers", nargs="+", required=True, help="layers of the model")
    options.add_argument("--pca", nargs="+", required=True, help="PCA of each layer, .npz, in the same order")
    options.add_argument("--pooled", default="{}", help="side of the pooled map by layer, as JSON")
    options.add_argument("--output", required=True, help="JSON to write")
    run(main, options.parse_args())
