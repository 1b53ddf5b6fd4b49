"""Fit what an embedding does to a network's features, on noisy training images."""

import argparse

from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.seeds import derive_seed
from nndefense.models.pictures import read_pictures


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.embedding import Embedding, fit_transform, write_transform
    from nndefense.models.smoothing import noisy_features

    seed = derive_seed(arguments.seed, "embedding", arguments.name, arguments.sigma)
    pictures = read_pictures(
        job,
        arguments.images,
        arguments.manifest,
        key=f"retrieval.embeddings.{arguments.name}.fit",
        classes=None,
        skip_limit=arguments.skip_limit,
        count=min(arguments.count, read_json(arguments.images)["rows"]),
        seed=seed,
    )
    embedding = freeze(Embedding(open_checkpoint(arguments.model)[0], arguments.output)).to(device)
    with Progress("features", len(pictures.images), "images", job.log) as progress:
        features = noisy_features(
            embedding,
            pictures.images,
            pictures.rows,
            sigma=arguments.sigma,
            seed=seed,
            batch=arguments.batch,
            device=device,
            on_batch=progress.advance,
        )
    found = fit_transform(arguments.transform, features, pictures.labels)
    write_transform(arguments.file, found)
    wide = features.shape[1] if found.directions is None else found.directions.shape[1]
    job.say(f"{arguments.transform}: {features.shape[1]} features to {wide} dimensions, by {len(features):,} images")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--name", required=True, help="of the embedding")
    options.add_argument("--model", required=True, help="model.json of the network")
    options.add_argument("--output", required=True, help="features, softmax or output")
    options.add_argument("--transform", required=True, help="center or lda")
    options.add_argument("--sigma", type=float, required=True, help="standard deviation of the noise")
    options.add_argument("--images", required=True, help="set.json of the training images")
    options.add_argument("--manifest", required=True, help="manifest.parquet of the training images")
    options.add_argument("--count", type=int, required=True, help="images at most, drawn at random")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--file", required=True, help=".npz to write")
    run(main, options.parse_args())
