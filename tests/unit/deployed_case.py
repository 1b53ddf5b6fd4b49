"""A small deployed system: drawn images, a briefly trained network, and artifacts by the workflow's own scripts."""

import argparse
import importlib
import io
import json
import os
from pathlib import Path

import numpy as np
import torch

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job
from nndefense.core.tables import read_table, write_table
from nndefense.database.copies import pixel_sums
from nndefense.images.description import list_set, open_options
from nndefense.models.build import build_model
from nndefense.models.checkpoint import save_checkpoint
from nndefense.models.predict import to_tensor

LAYERS = ("conv_4_1", "conv_3_1-RMAC")
SHARDS = ("0-120", "120-200")
SPANS = [(shard,) for shard in SHARDS]
QUERIES, BATCH, KEPT, K, COMPONENTS = 66, 25, 30, 9, 12
MEAN, STD = [0.5] * 3, [0.25] * 3
ON_THE_CPU = {"threads": 1, "gpus": 0, "precision": "exact", "compile": False}
EXTRACT = {"pooled": '{"conv_4_1": 2}', "batch": BATCH, "skip_limit": 0.01}


def call(script, **arguments):
    """Run a script's `main` in this process."""
    job = Job(io.StringIO(), 0, torch.get_num_threads())
    importlib.import_module(script).main(argparse.Namespace(**ON_THE_CPU, **arguments), job)


def image_set(root, name, **options):
    """Lists a set; the set, opened."""
    options = {"kind": "shapes", "seed": 5, "content": "task", "size": 16, **options}
    folder = root / "images" / name
    list_set(name, options, folder / "set.json", folder / "manifest.parquet")
    return open_options(options)


def train(images, labels):
    """A network that has learned something of the images."""
    model = build_model("cifar_resnet8", 10, MEAN, STD, seed=1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    pixels, labels = to_tensor(images), torch.from_numpy(labels)
    for _ in range(150):
        chosen = torch.randint(0, len(labels), (64,), generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels[chosen]), labels[chosen]).backward()
        optimizer.step()
    return model.eval()


def make_system(root):
    """Makes every file from images to votes under root; `LAYERS` and all shards."""
    root = Path(root)
    test = image_set(root, "test", first=0, rows=QUERIES)
    web = image_set(root, "web", first=1000, rows=200)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        study = image_set(root, "study", first=5000, rows=1500)
        model = train(study.read(range(1500)).images, study.manifest()["label"])
    about = {"name": "net", "architecture": "cifar_resnet8", "classes": 10, "mean": MEAN, "std": STD}
    (root / "models/net").mkdir(parents=True)
    save_checkpoint(root / "models/net/weights.safetensors", root / "models/net/model.json", model, about)
    order = np.random.default_rng(0).permutation(200)
    write_table(root / "pools/Web.parquet", {"set": np.array(["web"] * 200), "row": order})
    pixels = to_tensor(test.read(range(QUERIES)).images).contiguous().numpy()
    # One query is a database image, one is equal to another.
    pixels[3] = to_tensor(web.read([order[150]]).images)[0]
    pixels[5] = pixels[4]
    labels = read_table(root / "images/test/manifest.parquet", "label")["label"]
    queries = root / "attacks/clean.npz"
    sums = pixel_sums((pixels * 255).round().astype(np.uint8).transpose(0, 2, 3, 1))
    write_arrays(queries, labels=labels, rows=np.arange(QUERIES), pixels=sums, **{"clean/images": pixels})
    pool = {"images": root / "pools/Web.parquet", "sets": [root / "images/web/set.json"]}
    # As in the workflow, the PCA sees features of the first shard; of the other one codes are written at once.
    first, second = SHARDS
    call("extract_features", **pool, **EXTRACT, **shard_files(root, "features", first), pca=[])
    fitted = [root / f"pca/{layer}.npz" for layer in LAYERS]
    for layer, pca in zip(LAYERS, fitted, strict=True):
        call(
            "fit_pca",
            features=[root / f"features/{layer}/{first}.npy"],
            skipped=[root / f"skipped/{layer}/{first}.npy"],
            components=COMPONENTS,
            samples=120,
            seed=1,
            output=pca,
        )
    call(
        "encode_features",
        features=[root / f"features/{layer}/{first}.npy" for layer in LAYERS],
        pca=fitted,
        codes=[root / f"codes/{layer}/{first}.npy" for layer in LAYERS],
        type="float32",
    )
    call("extract_features", **pool, **EXTRACT, **shard_files(root, "codes", second), pca=fitted)
    extract_packs(root, ["clean"], root)
    for layer in LAYERS:
        retrieve(root, layer, ["clean"], root)
    return root


def shard_files(root, kind, shard):
    """What is written of a shard."""
    return {
        "model": root / "models/net/model.json",
        "shard": shard,
        "layers": LAYERS,
        "features": [root / f"{kind}/{layer}/{shard}.npy" for layer in LAYERS],
        "skipped": [root / f"skipped/{layer}/{shard}.npy" for layer in LAYERS],
        "store": [root / f"softmax/{shard}{end}.npy" for end in ("", ".weights", ".checks", ".pixels")],
        "type": "float32",
    }


def extract_packs(root, names, out):
    """Features and softmax rows of packs of query sets."""
    call(
        "extract_queries",
        model=root / "models/net/model.json",
        names=list(names),
        images=[root / f"attacks/{name}.npz" for name in names],
        layers=list(LAYERS),
        features=[out / f"features/{layer}/queries/{name}.npy" for name in names for layer in LAYERS],
        store=[out / f"softmax/queries/{name}{end}.npy" for name in names for end in ("", ".weights")],
        **EXTRACT,
    )


def retrieve(root, layer, names, out, *, spans=SPANS, weightings=("UW", "CBW-E", "CBW-D")):
    """Answers to packs by search and votes.

    Args:
        root: folder of the database. out: of the features, and of what is written.
        layer: that searches.
        names: of the packs.
        spans: shards that are searched together.
        weightings: of the votes.
    """
    lists = [out / f"neighbors/{layer}/{span[0]}/{name}.npz" for span in spans for name in names]
    for place, span in enumerate(spans):
        call(
            "search_span",
            queries=[out / f"features/{layer}/queries/{name}.npy" for name in names],
            pca=root / f"pca/{layer}.npz",
            shards=[root / f"codes/{layer}/{shard}.npy" for shard in span],
            skipped=[root / f"skipped/{layer}/{shard}.npy" for shard in span],
            stops=[int(span[-1].partition("-")[2])],
            neighbors=KEPT,
            probes=1,
            neighbors_files=lists[place * len(names) : (place + 1) * len(names)],
        )
    merged = [out / f"neighbors/{layer}/merged/{name}.npz" for name in names]
    call("merge_neighbors", spans=lists, sizes=[200], neighbors=KEPT, output=merged)
    call(
        "vote",
        names=list(names),
        queries=[root / f"attacks/{name}.npz" for name in names],
        pools=["Web"],
        sizes=[[200]],
        neighbors=merged,
        **voting_files(root),
        k=[K],
        weightings=list(weightings),
        combinations=["soft", "hard"],
        layer=layer,
        predictions=[out / f"predictions/net/{layer}/{name}.npz" for name in names],
    )


def store_files(root):
    """Softmax rows of the database, their weights and checks."""
    ends = {"softmax": "", "weights": ".weights", "checks": ".checks"}
    return {name: [root / f"softmax/{shard}{end}.npy" for shard in SHARDS] for name, end in ends.items()}


def pixel_files(root):
    """Sums of pixels of the database."""
    return [root / f"softmax/{shard}.pixels.npy" for shard in SHARDS]


def voting_files(root):
    """What votes are given besides lists of neighbours."""
    return store_files(root) | {"clean": root / "attacks/clean.npz", "pixels": pixel_files(root), "left_out": []}


def approximate(root, layer=LAYERS[0], factory="IVF4,Flat"):
    """Writes an approximate index of the database; files of its shards."""
    codes, skipped = ([root / f"{kind}/{layer}/{shard}.npy" for shard in SHARDS] for kind in ("codes", "skipped"))
    trained = root / f"index/{layer}/trained.faiss"
    call("train_index", codes=codes[:1], skipped=skipped[:1], factory=factory, samples=120, output=trained)
    indexes = [root / f"index/{layer}/{shard}.faiss" for shard in SHARDS]
    for files in zip(codes, skipped, indexes, strict=True):
        call("build_index", trained=trained, **dict(zip(("codes", "skipped", "output"), files, strict=True)))
    return indexes


def describe(root, layer=LAYERS[0], output="knn.json", **changes):
    """Writes the description of the deployed defence."""
    arguments = {
        "model": root / "models/net/model.json",
        "encoder": [],
        "pca": root / f"pca/{layer}.npz",
        "index": [],
        "codes": [root / f"codes/{layer}/{shard}.npy" for shard in SHARDS],
        "skipped": [root / f"skipped/{layer}/{shard}.npy" for shard in SHARDS],
        **store_files(root),
        "pixels": pixel_files(root),
        "pool": root / "pools/Web.parquet",
        "sets": [root / "images/web/set.json"],
        "task": root / "images/test/set.json",
        "layer": layer,
        "pooled": json.dumps({"conv_4_1": 2} if layer == "conv_4_1" else {}),
        "pool_name": "Web",
        "neighbors": K,
        "searched": KEPT,
        "probes": None,
        "temperature": None,
        "candidates": None,
        "weighting": "CBW-D",
        "combination": "soft",
        "dataset": "shapes",
        "output": root / output,
    }
    arguments |= changes
    call("describe_defense", **{name: _text(value) for name, value in arguments.items()})
    return root / output


def _text(value):
    if isinstance(value, list):
        return [_text(one) for one in value]
    return os.fspath(value) if isinstance(value, Path) else value


def query_images(root):
    """Images (n, 3, H, W) float32 of the query set, and their labels (n,)."""
    stored = read_arrays(root / "attacks/clean.npz")
    return torch.from_numpy(stored["clean/images"]), torch.from_numpy(stored["labels"])
