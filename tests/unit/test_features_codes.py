"""Codes of a database: of an image and its row alone, whatever blocks and shards features come in."""

from itertools import pairwise

import numpy as np
import pytest

from nndefense.core.arrays import read_array, write_array, write_arrays
from nndefense.features.bits import pack_signs
from nndefense.features.codes import LINE, stored_codes, with_copies
from nndefense.features.pca import Moments, fit_pca
from nndefense.features.stored_pca import read_pca
from tests.unit.deployed_case import call

LAYER, RMAC = "conv_4_1", "conv_4_1-RMAC"
ROWS, WIDTH = 700, 24


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float16)


@pytest.fixture(scope="module")
def pca(features):
    return fit_pca(Moments.empty(WIDTH).update(features.astype(np.float32)), 16)


@pytest.mark.parametrize("layer", [LAYER, RMAC])
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("cuts", [(1,), (127, 128, 129), (50, 250, 500), tuple(range(1, 40))])
def test_cuts_change_no_byte(features, pca, layer, kind, cuts):
    whole = stored_codes(pca, features, layer, 0, kind)
    assert whole.dtype == (np.uint8 if layer == RMAC else kind)
    parts = [stored_codes(pca, features[a:b], layer, a, kind) for a, b in pairwise([0, *cuts, ROWS])]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_codes_are_those_of_the_pca(features, pca):
    codes = stored_codes(pca, features, LAYER, 0)
    np.testing.assert_allclose(codes, pca.transform(features), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stored_codes(pca, features, LAYER, 0, "float16"), codes.astype(np.float16))
    np.testing.assert_array_equal(stored_codes(pca, features, RMAC, 0), pack_signs(codes))


def test_rows_of_a_pool_are_multiplied_at_their_place(features, pca):
    """Each line of the pool in one product of one shape."""
    shapes = []

    class Spy:
        components = pca.components

        def transform(self, rows):
            shapes.append(rows.shape)
            return pca.transform(rows)

    stored_codes(Spy(), features[:300], LAYER, 5 * LINE - 1)
    assert shapes == [(LINE, WIDTH)] * 4


def test_few_rows_are_multiplied_as_many(features):
    assert with_copies(features) is features
    few = with_copies(features[:3])
    assert few.shape == (64, WIDTH)
    np.testing.assert_array_equal(few[:3], features[:3])
    assert (few[3:] == features[2]).all()


def test_codes_of_a_file_are_those_of_blocks(features, pca, tmp_path):
    """Whether features were stored or became codes at once."""
    names = ("mean", "components", "explained_variance", "explained_variance_ratio")
    write_arrays(tmp_path / "pca.npz", samples=np.array(ROWS), **{name: getattr(pca, name) for name in names})
    stored, pca_id = read_pca(tmp_path / "pca.npz")
    many = np.tile(features, (3, 1))
    about = {"layer": LAYER, "model": "m", "pool": "All", "start": 300, "stop": 300 + len(many)}
    write_array(tmp_path / "features.npy", many, about)
    files = {"features": [tmp_path / "features.npy"], "pca": [tmp_path / "pca.npz"], "codes": [tmp_path / "codes.npy"]}
    call("encode_features", **files, type="float16")
    codes, facts = read_array(tmp_path / "codes.npy")
    assert facts == about | {"pca": pca_id}
    blocks = [stored_codes(stored, many[low : low + 250], LAYER, 300 + low, "float16") for low in range(0, 2100, 250)]
    assert codes.tobytes() == np.concatenate(blocks).tobytes()
