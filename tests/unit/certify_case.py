"""A small described retrieval: drawn images, a random network, and artifacts by the workflow's own scripts."""

import os

from nndefense.certificates import CERTIFICATES
from nndefense.cli import main
from nndefense.models.build import build_model
from nndefense.models.checkpoint import save_checkpoint
from tests.unit.deployed_case import MEAN, STD, call, image_set

NAME = "near/centred/sigma-0.03"
FIRST, DRAWS, SIGMA, ALPHA, SEED, QUERIES = 30, 110, 0.03, 0.01, 3, 5
NAMES = tuple(CERTIFICATES)


def make_retrieval(root):
    """Makes the files of a described retrieval below root, by the workflow's scripts; the folder."""
    image_set(root, "study", first=0, rows=300)
    image_set(root, "near", first=5000, rows=60)
    net = build_model("cifar_resnet8", 10, MEAN, STD, seed=1)
    about = {"name": "net", "architecture": "cifar_resnet8", "classes": 10, "mean": MEAN, "std": STD}
    (root / "models/net").mkdir(parents=True)
    save_checkpoint(root / "models/net/weights.safetensors", root / "models/net/model.json", net, about)
    near = {"images": f"{root}/images/near/set.json", "manifest": f"{root}/images/near/manifest.parquet"}
    guard = root / "retrievalguard"
    folder, task, transform = guard / NAME, guard / "tasks/near.npz", guard / "embeddings/centred/sigma-0.03.npz"
    call(
        "draw_task",
        **{"gallery": near["images"], "gallery_manifest": near["manifest"], "gallery_count": 8},
        **{"queries": near["images"], "queries_manifest": near["manifest"], "queries_count": QUERIES},
        **{"same_set": True, "task": "near", "output": task, "skip_limit": 0.01, "seed": SEED},
    )
    common = {"name": NAME, "model": f"{root}/models/net/model.json", "sigma": SIGMA, "seed": SEED, "batch": 100}
    study = {"images": root / "images/study/set.json", "manifest": root / "images/study/manifest.parquet"}
    fitted = {"transform": "center", "count": 300, "skip_limit": 0.01, "file": transform, "output": "features"}
    call("fit_embedding", **common | study | fitted | {"name": "centred"})
    common |= {"task": task, "transform": [f"{transform}"], "output": "features"}
    call("smooth_gallery", **common, gallery="items", draws=50, vectors=folder / "gallery.npz")
    files = {"file": folder / "draws.npy", "base": folder / "base.npz"}
    call("draw_queries", **common, **files, first=FIRST, draws=DRAWS)
    stored = {"gallery": f"{folder}/gallery.npz", "base": folder / "base.npz", "draws": folder / "draws.npy"}
    for name in NAMES:
        call("certify_queries", **stored, certificate=name, alpha=ALPHA, output=folder / f"{name}.npz")
    call(
        "describe_retrieval",
        **{key: common[key] for key in ("name", "model", "transform", "sigma", "batch", "task")},
        **{"gallery": stored["gallery"], "images": near["images"], "names": near["images"]},
        **{"embedding_output": "features", "certificates": list(NAMES), "alpha": ALPHA, "first": FIRST},
        **{"draws": DRAWS, "output": folder / "system.json"},
    )
    return root


def certify(root, *words):
    return main(["certify", *map(os.fspath, words), "--results", os.fspath(root)])
