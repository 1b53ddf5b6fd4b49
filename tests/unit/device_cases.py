"""What must be the same on a GPU, or nearly.

`tests/gpu` runs these cases there, `test_device_free.py` with the CPU in its place.
"""

from dataclasses import dataclass

import faiss
import numpy as np
import torch

from nndefense.attacks.batches import attack_in_batches
from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from nndefense.database.engines.exact import Exact
from nndefense.database.engines.trained import search_indexes, train
from nndefense.features.blocks import feature_blocks
from nndefense.features.extract import FeatureExtractor
from nndefense.models import train as training
from nndefense.models.build import build_model, freeze
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.predict import predict_softmax, to_tensor
from nndefense.retrieval.votes import vote_all

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
EPSILON = 0.04
CLASSES, SIDE, BATCH, K = 4, 16, 100, 20
LAYERS = ("conv_3_1", "conv_4_1")
WAYS = {
    "exact": SINGLE,
    "tf32": Computing("tf32"),
    "bf16": Computing("bf16"),
    "compiled": Computing("exact", True),
    "compiled bf16": Computing("bf16", True),
}
# How far features may be from those of the CPU, as a share of the largest, and how many of 100 votes may change.
APART = {"exact": 1e-4, "compiled": 1e-4, "tf32": 2e-2, "bf16": 5e-2, "compiled bf16": 5e-2}
CHANGED = {"exact": 0.005, "compiled": 0.005, "tf32": 0.02, "bf16": 0.03, "compiled bf16": 0.03}


def pictures(count, seed):
    """Images (count, SIDE, SIDE, 3) uint8 of stripes in four directions under noise, and their classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    angles = np.pi * labels / CLASSES + generator.normal(0, 0.2, count)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = np.cos(angles)[:, None, None] * rows + np.sin(angles)[:, None, None] * columns
    waves = np.sin(1.2 * waves + generator.uniform(0, 2 * np.pi, (count, 1, 1)))
    noise = generator.normal(0, 0.9, (count, SIDE, SIDE, 3))
    return (127 + 60 * (0.6 * waves[..., None] + noise)).clip(0, 255).astype(np.uint8), labels


@dataclass(frozen=True)
class World:
    """A network that has learnt something, a database of images, and queries with their classes."""

    model: torch.nn.Module
    database: np.ndarray
    queries: np.ndarray
    labels: np.ndarray

    @classmethod
    def make(cls) -> "World":
        model = build_model("cifar_resnet8", CLASSES, MEAN, STD)
        options = {"learning_rate": 0.1, "weight_decay": 1e-4, "seed": 0, "flip": False}
        training.train(model, *pictures(900, 1), epochs=2, batch=50, **options)
        return cls(freeze(model), pictures(600, 2)[0], *pictures(300, 3))

    def features(self, images, device, computing):
        """Features by layer, and softmax rows, of all images, as the workflow extracts them."""
        blocks = ((slice(low, low + BATCH), images[low : low + BATCH], {}) for low in range(0, len(images), BATCH))
        found = list(feature_blocks(FeatureExtractor(self.model, LAYERS), blocks, BATCH, device, computing))
        assert [one.rows.start for one in found] == list(range(0, len(images), BATCH))
        assert not any(one.skipped for one in found)
        features = {layer: np.concatenate([one.features[layer] for one in found]) for layer in LAYERS}
        return features, np.concatenate([one.softmax for one in found])

    def votes(self, device, computing, library=None):
        """Classes (n,) that the votes of the nearest images give."""
        features, softmax = self.features(self.database, device, computing)
        queries = self.features(self.queries, device, computing)[0][LAYERS[1]].astype(np.float32)
        engine = Exact(device=device, library=library)
        found = engine.search_blocks([features[LAYERS[1]]], [queries], K)[len(softmax)]
        rows = softmax[found[0][0]].astype(np.float16)
        weights = np.ones((*rows.shape[:2], 2), np.float32)
        options = {"neighbors": [K], "weightings": ["UW"], "combinations": ["soft"]}
        (classes,) = vote_all(rows, weights, np.ones(rows.shape[:2], bool), **options).values()
        return classes

    def attacked(self, device, computing):
        """The arrays of an attack on the queries."""
        clean = to_tensor(self.queries).contiguous().numpy()
        found = attack_in_batches(
            PGD(steps=5),
            self.model.to(device),
            {"images": clean, "labels": self.labels, "rows": np.arange(len(clean))},
            epsilons=[EPSILON],
            ball=RAW,
            statistics=(MEAN, STD),
            seed=1,
            batch=BATCH,
            context=lambda rows: {},
            on_batch=lambda result: None,
            computing=computing,
        )
        return {name.partition("/")[2] or name: values for name, values in found.items()}

    def right(self, images):
        """Share of images that the network, on the CPU in single precision, is right about."""
        classes = predict_softmax(self.model.cpu(), images).argmax(axis=1)
        return (classes == self.labels).mean()


# -- cases


def check_features(world, way, device):
    """Features and softmax rows agree with those of the CPU."""
    expected, softmax = world.features(world.queries, "cpu", SINGLE)
    found, rows = world.features(world.queries, device, WAYS[way])
    for layer, values in expected.items():
        scale = np.abs(values.astype(np.float32)).max()
        apart = np.abs(found[layer].astype(np.float32) - values.astype(np.float32)).max() / scale
        # They are stored in half precision.
        assert apart <= APART[way] + 2**-10, (layer, apart)
    assert np.abs(rows - softmax).max() <= 4 * APART[way]
    return found, rows


def check_votes(world, way, device):
    """Votes agree with those of the CPU; returns the share that changed."""
    expected, found = world.votes("cpu", SINGLE, "faiss"), world.votes(device, WAYS[way])
    assert (expected == world.labels).mean() > 0.7
    changed = float((found != expected).mean())
    assert changed <= CHANGED[way]
    return changed


def check_attack(world, way, device):
    """An attack stays within its budget and is as strong as on the CPU; returns what it leaves there and here."""
    expected, found = world.attacked("cpu", SINGLE), world.attacked(device, WAYS[way])
    assert found["delta_raw01"].max() <= EPSILON * (1 + 1e-5)
    left, here = world.right(expected["images"]), world.right(found["images"])
    assert 0.05 < left < 0.8 * world.right(to_tensor(world.queries).contiguous().numpy())
    assert abs(here - left) <= 0.03, (left, here)
    # Losses are measured in single precision whatever the gradients are.
    np.testing.assert_allclose(found["loss_before"], expected["loss_before"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["loss_after"].mean(), expected["loss_after"].mean(), rtol=0.05)
    return left, here


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_same_neighbors(found, expected, tolerance=1e-5):
    """The same distances but for a tolerance, a share of the largest, and the same ids where they differ by more.

    expected: has one place more, which tells how clear the last one is.
    """
    (ids, distances), (other_ids, others) = found, expected
    scale = tolerance * others[np.isfinite(others)].max()
    places = ids.shape[1]
    np.testing.assert_allclose(distances, others[:, :places], rtol=0, atol=scale)
    gaps = np.diff(np.where(np.isfinite(others), others, np.float32(1e30)), axis=1, prepend=-np.inf) > 2 * scale
    clear = gaps[:, :places] & gaps[:, 1 : places + 1]
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ids[clear], other_ids[:, :places][clear])


def check_exact_search(device, dtype=np.float16):
    """Codes that are compared, some of them equal, some unusable; queries that are no numbers."""
    codes = normal(3000, 64).astype(dtype)
    codes[[7, 1500, 2999]] = codes[42]
    queries = [normal(60, 64, seed=1), codes[40:50].astype(np.float32)]
    queries[0][3] = np.nan
    options = {"stops": [1000, 3000], "skipped": [np.array([0, 999, 2000])]}
    expected = Exact(library="faiss").search_blocks([codes], queries, 31, **options)
    found = Exact(device=device).search_blocks([codes], queries, 30, **options)
    for stop in (1000, 3000):
        finite = np.isfinite(queries[0]).all(axis=1)
        for rows, own, other in zip((finite, slice(None)), found[stop], expected[stop], strict=True):
            assert_same_neighbors([part[rows] for part in own], [part[rows] for part in other])
        assert (found[stop][0][0][3] == -1).all()
    # Equal codes come in the order of their rows.
    assert found[3000][1][0][2, :4].tolist() == [7, 42, 1500, 2999]


def check_inverted_file(device, factory="IVF8,Flat", tolerance=1e-5):
    """Indexes of two shards."""
    codes, queries = normal(3000, 32), [normal(80, 32, seed=1)]
    trained = train(normal(1000, 32, seed=2), factory)

    def shards():
        for low, high in ((0, 1000), (1000, 3000)):
            index = faiss.deserialize_index(np.frombuffer(trained, np.uint8))
            index.add_with_ids(codes[low:high], np.arange(low, high))
            yield high, index

    expected = search_indexes(shards(), queries, 31, [1000, 3000], 3)
    found = search_indexes(shards(), queries, 30, [1000, 3000], 3, device)
    for stop in (1000, 3000):
        assert_same_neighbors(found[stop][0], expected[stop][0], tolerance)
