"""A small run to be scored again: a deployed system, a stored worst case, and the workflow's own rows of it."""

import json
import os

import numpy as np

from nndefense.cli import main
from nndefense.core.arrays import read_arrays
from tests.unit.deployed_case import BATCH, KEPT, LAYERS, K, call, describe, extract_packs, make_system, retrieve

WORST = "raw01/adaptive-knn/worst/eps-0.02,0.06"
COUNT, EPSILON = 24, 0.06
RETRIEVAL = {"retrieval": "nndefense.evaluation.readers:read_retrieval"}
CROPS = {"crops": 2, "crop_fraction": 0.6}
VOTES = {"k": K, "searched": KEPT, "weighting": "CBW-D", "combination": "soft"}
FACTS = {"dataset": "shapes", "model": "net", "seed": 1}
NOTHING = {"roles": [], "files": [], "readers": "{}", "facts": "{}"}


def make_run(root):
    """Makes every file under root from images to rows of the worst case; the folder."""
    make_system(root)
    describe(root)
    files = [os.fspath(root / "knn.json")]
    describe_system(root, "knn", roles=["retrieval"], files=files, readers=json.dumps(RETRIEVAL))
    describe_system(root, "none")
    describe_system(root, "crop_ensemble", options=CROPS)
    attack(root)
    for name in ("clean", WORST):
        vote(root, [name], root)
        answer(root, "none", [name], root)
        answer(root, "crop_ensemble", [name], root, options=CROPS)
        for system in (LAYERS[0], "none", "crop_ensemble"):
            measure(root, system, name)
    call(
        "summarize_rows",
        predictions=[os.fspath(root / f"predictions/net/{LAYERS[0]}/{name}.npz") for name in ("clean", WORST)],
        root=os.fspath(root / "predictions/net"),
        target="nndefense.evaluation.worst:WORST_CASE",
        output=root / f"accuracy_worst/net/{LAYERS[0]}.csv",
        **FACTS,
    )
    return root


def describe_system(root, name, kind=None, options=None, **changes):
    """Writes the description of a defended system; its path."""
    arguments = {
        "model": os.fspath(root / "models/net/model.json"),
        "target": os.fspath(root / "models/net/model.json"),
        "clean": os.fspath(root / "attacks/clean.npz"),
        "defense": name,
        "kind": kind or name,
        "label": name.replace("_", " ").capitalize(),
        "options": json.dumps(options or {}),
        "batch": BATCH,
        "dataset": "shapes",
        "model_name": "net",
        "seed": 1,
        "output": os.fspath(root / f"systems/{name}.json"),
    }
    call("describe_system", **NOTHING | arguments | changes)
    return root / f"systems/{name}.json"


def attack(root):
    """A search for the worst case of the nearest neighbours, with few steps, on some of the images."""
    call(
        "attack_defense",
        clean=root / "attacks/clean.npz",
        count=COUNT,
        attacker=root / "models/net/model.json",
        target=root / "models/net/model.json",
        attacks=json.dumps({"soft_retrieval": {"steps": 2, "restarts": 1}}),
        order=["soft_retrieval"],
        doubled="soft_retrieval",
        limits="{}",
        ball="raw01",
        threat="adaptive-knn",
        epsilons=[0.02, EPSILON],
        sanity=0.3,
        defense="knn",
        defense_options=json.dumps(VOTES),
        names=[],
        stored=[],
        batch=BATCH,
        seed=1,
        output=root / f"attacks/{WORST}.npz",
        report=root / "report.json",
        **NOTHING | {"roles": ["retrieval"], "files": [root / "knn.json"], "readers": json.dumps(RETRIEVAL)},
    )


def vote(root, names, out, **options):
    """The workflow's answers of the nearest neighbours to packs: search and votes by shards."""
    extract_packs(root, names, out)
    retrieve(root, LAYERS[0], names, out, weightings=("UW", "CBW-D"), **options)


def answer(root, defense, names, out, *, options=None, **changes):
    """The workflow's answers of a defence without a database to packs."""
    arguments = {
        "model": root / "models/net/model.json",
        "names": list(names),
        "queries": [root / f"attacks/{name}.npz" for name in names],
        "used": [[] for _ in names],
        "defense": defense,
        "kind": defense,
        "options": json.dumps(options or {}),
        "batch": BATCH,
        "seed": 1,
        "predictions": [out / f"predictions/net/{defense}/{name}.npz" for name in names],
    }
    call("evaluate_defense", **NOTHING | arguments | changes)


def measure(root, system, name):
    """The rows of a pack."""
    call(
        "collect_rows",
        parts=[root / f"predictions/net/{system}/{name}.npz"],
        facts=json.dumps({"dataset": FACTS["dataset"], "seed": FACTS["seed"]}),
        target="nndefense.evaluation.accuracy:ACCURACY",
        output=root / f"accuracy/net/{system}/{name}.csv",
    )


def rescore(root, *words):
    """Runs the command on a run; its exit code."""
    return main(["rescore", *map(os.fspath, words), "--run", os.fspath(root)])


def stored(root, epsilon="0.06"):
    """Images, rows, and who broke them, of the stored worst case."""
    found = read_arrays(root / f"attacks/{WORST}.npz")
    return found[f"{epsilon}/images"], found["rows"], found[f"{epsilon}/broken_by"]


def submit(folder, images, rows, name="mine.npz", **more):
    """Writes somebody else's images; the file."""
    path = folder / name
    np.savez(path, images=images, rows=rows, **more)
    return path
