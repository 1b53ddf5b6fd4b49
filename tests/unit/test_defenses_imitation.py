"""A retrieval of the attacker's own: the deployed one where it has everything, another where it has not."""

import numpy as np
import pytest
import torch

from nndefense.core.errors import InputError
from nndefense.defenses.deployed import open_deployed, read_deployed
from nndefense.defenses.imitation import imitate
from nndefense.defenses.neighbors import NearestNeighbors
from nndefense.images.pool import PoolReader
from nndefense.models.build import build_model, freeze
from tests.unit.deployed_case import COMPONENTS, MEAN, STD, K, describe, make_system, query_images

OPTIONS = {"layer": "conv_4_1", "pooled": {"conv_4_1": 2}, "components": COMPONENTS, "samples": 120, "batch": 50}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    root = make_system(tmp_path_factory.mktemp("results"))
    deployed = read_deployed(describe(root))
    reader = PoolReader.open(deployed.pool, deployed.sets)
    return open_deployed(deployed), lambda places: reader.read(places).images, query_images(root)[0]


def answers(context, network, images):
    bound = NearestNeighbors(k=K, searched=30).bind(network, context)
    return bound.probabilities(images, rows=torch.arange(len(images)), seed=0)


def test_with_all_weights_and_images_it_is_the_deployed_defence(system):
    bound, read, images = system
    context = imitate(read, np.arange(200), bound.model, bound.model, **OPTIONS)
    found = answers(context, bound.model, images)
    expected = bound.probabilities(images, rows=torch.arange(len(images)), seed=0)
    # Features of another batch are rounded otherwise.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert (found.argmax(dim=1) == expected.argmax(dim=1)).float().mean() > 0.95


def test_rows_are_those_of_the_other_network_and_features_the_first_ones(system):
    bound, read, images = system
    other = freeze(build_model("cifar_resnet8", 10, MEAN, STD, seed=7))
    own = imitate(read, np.arange(200), bound.model, bound.model, **OPTIONS)
    foreign = imitate(read, np.arange(200), bound.model, other, **OPTIONS)
    codes = [context["codes"].rows_of(np.arange(200))[0] for context in (own, foreign)]
    np.testing.assert_array_equal(*codes)
    rows = [context["store"].take(np.arange(200))[0] for context in (own, foreign)]
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    assert not torch.allclose(answers(own, bound.model, images), answers(foreign, bound.model, images), atol=0.01)


def test_a_database_with_gaps_is_searched_by_the_places_of_the_pool(system):
    bound, read, images = system
    ids = np.r_[10:60, 100:180]
    context = imitate(read, ids, bound.model, bound.model, **OPTIONS)
    found = NearestNeighbors(k=K).bind(bound.model, context).neighbors(images)
    assert set(found.ids.ravel().tolist()) <= set(ids.tolist())
    surrogate = NearestNeighbors(k=K).bind(bound.model, context).surrogate
    assert surrogate(images, rows=torch.arange(len(images)), seed=0).isfinite().all()


def test_one_image_is_no_database(system):
    bound, read, _ = system
    with pytest.raises(InputError, match="has 1 usable images"):
        imitate(read, np.array([3]), bound.model, bound.model, **OPTIONS)
