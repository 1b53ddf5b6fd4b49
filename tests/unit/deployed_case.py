"""A small deployed system: drawn images, a briefly trained network, and artifacts by the workflow's own scripts."""

import argparse
import importlib
import io
import json
import os
from pathlib import Path

import numpy as np
import torch

from nndefense.core.command import Job
from nndefense.core.files import read_arrays, read_table, write_arrays, write_json, write_table
from nndefense.images.description import describe_set, open_options
from nndefense.models.build import build_model
from nndefense.models.checkpoint import save_checkpoint
from nndefense.models.predict import to_tensor

LAYERS = ("conv_4_1", "conv_3_1-RMAC")
SHARDS = ("0-120", "120-200")
QUERIES, BATCH, KEPT, K, COMPONENTS = 66, 25, 30, 9, 12
MEAN, STD = [0.5] * 3, [0.25] * 3


def call(script, **arguments):
    """Run a script's `main` in this process."""
    job = Job(io.StringIO(), 0, torch.get_num_threads())
    importlib.import_module(script).main(argparse.Namespace(threads=1, **arguments), job)


def image_set(root, name, **options):
    """Lists a set; the set, opened."""
    options = {"kind": "shapes", "seed": 5, "content": "task", "size": 16, **options}
    opened = open_options(options)
    manifest = opened.manifest()
    write_table(root / "images" / name / "manifest.parquet", manifest)
    write_json(root / "images" / name / "set.json", describe_set(name, options, opened, manifest["source"]))
    return opened


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
    write_arrays(queries, labels=labels, rows=np.arange(QUERIES), **{"clean/images": pixels})
    extract = {"model": root / "models/net/model.json", "pooled": '{"conv_4_1": 2}', "batch": BATCH, "skip_limit": 0.01}
    for shard in SHARDS:
        call(
            "extract_features",
            images=root / "pools/Web.parquet",
            sets=[root / "images/web/set.json"],
            shard=shard,
            queries_name=None,
            features=[root / f"features/{layer}/{shard}.npy" for layer in LAYERS],
            store=[root / f"softmax/{shard}.npy", root / f"softmax/{shard}.weights.npy"],
            **extract,
        )
    call(
        "extract_features",
        images=queries,
        sets=[],
        shard=None,
        queries_name="clean",
        features=[root / f"features/{layer}/queries.npy" for layer in LAYERS],
        store=[],
        **extract,
    )
    for layer in LAYERS:
        retrieve(root, layer)
    return root


def retrieve(root, layer):
    pca, lists = root / f"pca/{layer}.npz", []
    features = root / f"features/{layer}"
    call("fit_pca", features=[features / f"{SHARDS[0]}.npy"], components=COMPONENTS, samples=120, seed=1, output=pca)
    for shard in SHARDS:
        codes, index = root / f"codes/{layer}/{shard}.npy", root / f"index/{layer}/{shard}.faiss"
        lists.append(root / f"neighbors/{layer}/{shard}.npz")
        call("encode_features", features=features / f"{shard}.npy", pca=pca, output=codes)
        call("build_index", codes=codes, factory="Flat", output=index)
        call(
            "search_shard",
            features=features / "queries.npy",
            pca=pca,
            index=index,
            shard=shard,
            neighbors=KEPT,
            probes=None,
            output=lists[-1],
        )
    merged = root / f"neighbors/{layer}/merged.npz"
    call("merge_neighbors", shards=lists, sizes=[200], stops=[120, 200], neighbors=KEPT, output=merged)
    call(
        "vote",
        queries=root / "attacks/clean.npz",
        queries_name="clean",
        pools=["Web"],
        neighbors=[merged],
        softmax=[root / f"softmax/{shard}.npy" for shard in SHARDS],
        weights=[root / f"softmax/{shard}.weights.npy" for shard in SHARDS],
        k=[K],
        weightings=["UW", "CBW-E", "CBW-D"],
        combinations=["soft", "hard"],
        layer=layer,
        predictions=root / f"predictions/{layer}.npz",
    )


def describe(root, layer=LAYERS[0], output="knn.json", **changes):
    """Writes the description of the deployed defence."""
    arguments = {
        "model": root / "models/net/model.json",
        "pca": root / f"pca/{layer}.npz",
        "index": [root / f"index/{layer}/{shard}.faiss" for shard in SHARDS],
        "codes": [root / f"codes/{layer}/{shard}.npy" for shard in SHARDS],
        "softmax": [root / f"softmax/{shard}.npy" for shard in SHARDS],
        "weights": [root / f"softmax/{shard}.weights.npy" for shard in SHARDS],
        "pool": root / "pools/Web.parquet",
        "sets": [root / "images/web/set.json"],
        "task": root / "images/test/set.json",
        "layer": layer,
        "pooled": json.dumps({"conv_4_1": 2} if layer == "conv_4_1" else {}),
        "pool_name": "Web",
        "neighbors": K,
        "searched": KEPT,
        "probes": None,
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
