"""Purify a few test images, clean and attacked, and keep their parts: low band, high band, what came out, answers."""

import argparse
import json
from typing import Any

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, need_options, parser, run
from nndefense.core.files import read_json
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import read_context
from nndefense.images.classes import check_network


def chosen_places(labels: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Places of the first image of each class that the network is right about, as many as wanted, in their order."""
    places = np.flatnonzero(right)
    first = [places[labels[places] == label][:1] for label in np.unique(labels[places])]
    found = np.concatenate([*first, np.zeros(0, dtype=np.int64)]).astype(np.int64)[:count]
    rest = np.setdiff1d(np.arange(len(labels)), found)
    return np.sort(np.concatenate([found, rest])[:count])


def parts_of(bound: Any, images: np.ndarray, rows: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Images (q, 3, H, W), their bands, what they are purified to, dictionaries, and answers before and after."""
    import torch

    from nndefense.models.predict import image_batch, predict_softmax

    shown, ids = image_batch(images, slice(None), bound.device), torch.from_numpy(rows)
    found, chosen = bound.defense.purified(shown, ids, seed, bound.context)
    answers = bound.probabilities(shown, rows=ids, seed=seed).argmax(dim=1)
    return {
        "images": images,
        "low": found.low.cpu().numpy(),
        "high": found.high.cpu().numpy(),
        "purified": found.images.cpu().numpy(),
        "cluster": chosen.numpy(),
        "undefended": predict_softmax(bound.model, images, device=bound.device).argmax(axis=1),
        "defended": answers.cpu().numpy(),
    }


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.predict import predict_softmax

    network = freeze(open_checkpoint(arguments.model)[0]).to(device)
    readers, facts = json.loads(arguments.readers), json.loads(arguments.facts)
    context = read_context(arguments.roles, arguments.files, readers, facts, network)
    bound = make("defense", DEFENSES, arguments.kind, json.loads(arguments.options)).bind(network, context)
    check_network(read_json(arguments.model), arguments.clean)
    clean = read_arrays(arguments.clean, "clean/images", "labels", "rows")
    member = f"{arguments.member}/images"
    attacked = read_arrays(arguments.attacked, member)[member]
    right = predict_softmax(network, clean["clean/images"], device=device).argmax(axis=1) == clean["labels"]
    places = chosen_places(clean["labels"], right, arguments.count)
    labels, rows = clean["labels"][places], clean["rows"][places]
    seed, found = derive_seed(arguments.seed, "defense", arguments.defense), {"labels": labels, "rows": rows}
    for part, images in (("clean", clean["clean/images"]), ("attacked", attacked)):
        parts = parts_of(bound, np.ascontiguousarray(images[places]), rows, seed)
        found |= {f"{part}/{name}": values for name, values in parts.items()}
    write_arrays(arguments.output, **found)
    kept = (found["attacked/defended"] == labels).sum()
    job.say(f"{len(places)} images; attacked, {kept} are answered rightly once purified")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json of the network that the defence asks")
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--attacked", required=True, help="the same images attacked, .npz")
    options.add_argument("--member", required=True, help="the budget, as it is named in the file")
    options.add_argument("--count", type=int, default=6, help="images")
    options.add_argument("--defense", required=True, help="name of the defence")
    options.add_argument("--kind", required=True, help="its kind, a registered defence")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, need_options(options).parse_args())
