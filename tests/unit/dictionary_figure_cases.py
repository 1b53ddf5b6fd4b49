"""Clusters of three classes, as the workflow stores them: what figures of dictionaries are tested on."""

import numpy as np

from nndefense.core.arrays import write_arrays
from nndefense.core.files import write_json
from nndefense.dictionaries.clusters import Clusters
from nndefense.dictionaries.stored_clusters import write_clusters

NAMES = ["ship", "a class with a very long name", "cat"]
# Three clusters of class 0, one of class 1, two of class 2.
CLASSES = (0, 0, 0, 1, 2, 2)
SIZES = (5, 3, 2, 4, 6, 2)
NAN = float("nan")
SCORES = ((NAN, 0.2, 0.5, 0.4), (NAN, NAN, NAN, NAN), (NAN, 0.3, 0.1, NAN))


def clusters_file(path, scores=SCORES) -> str:
    members = np.repeat(np.arange(len(SIZES)), SIZES)
    labels = np.array(CLASSES)[members]
    means = np.zeros((len(SIZES), 4), np.float32)
    found = Clusters(np.array(CLASSES), means, means, np.array(SIZES), members, np.array(scores))
    write_clusters(path, found, labels, np.arange(len(labels)))
    return str(path)


def named_file(path, names=NAMES) -> str:
    """What a run notes down of an image set, as far as class names go."""
    write_json(path, {"class_names": names})
    return str(path)


def central(path, side=8, count=4) -> str:
    """Images whose value is their cluster, then their place; a cluster of fewer members has fewer."""
    rows = np.array([[place if place < size else -1 for place in range(count)] for size in SIZES])
    images = np.zeros((*rows.shape, side, side, 3), np.uint8)
    images[...] = (10 * np.arange(len(SIZES))[:, None] + rows + 1)[..., None, None, None]
    images[rows < 0] = 0
    write_arrays(path, images=images, rows=rows)
    return str(path)


def learnt(path, count=7, filters=9, steps=20) -> str:
    drawn = np.random.default_rng(0).standard_normal((count, filters, 3, 4, 4)).astype(np.float32)
    objectives = np.arange(count)[:, None] + 5 / np.arange(1, steps + 1)
    write_arrays(path, filters=drawn, low_pass=np.array(5.0), objectives=objectives)
    return str(path)
