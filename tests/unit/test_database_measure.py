"""Indexes that are measured: recall against brute force, what is timed, intervals, and the script on files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.arrays import read_arrays, write_array, write_arrays
from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.files import file_sha256
from nndefense.database.engines.timed import build_timed
from nndefense.database.engines.trained import Trained, train
from nndefense.database.index import index_to_bytes
from nndefense.database.measure import recall_at
from nndefense.database.row_checks import row_checks
from nndefense.evaluation.pairs import mean_interval, paired_difference
from nndefense.retrieval.weights import stored_weights

from .deployed_case import call


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def brute_force(codes, queries, k, rows):
    """The k nearest of each query among these rows."""
    squares = ((queries[:, None].astype(np.float64) - codes[None, rows].astype(np.float64)) ** 2).sum(axis=2)
    return np.asarray(rows)[np.argsort(squares, axis=1, kind="stable")[:, :k]]


# -- recall


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 5))
def test_recall_is_the_share_of_the_exact_neighbours(seed, k, queries):
    rng = np.random.default_rng(seed)
    found, exact = (np.array([rng.permutation(9)[:k] for _ in range(queries)]) for _ in range(2))
    for ids in (found, exact):
        ids[rng.random(ids.shape) < 0.3] = -1
    for share, ours, theirs in zip(recall_at(found, exact), found.tolist(), exact.tolist(), strict=True):
        wanted = set(theirs) - {-1}
        if wanted:
            assert share == pytest.approx(len(wanted & set(ours)) / len(wanted))
        else:
            assert np.isnan(share)


def test_recall_faults_are_one_line():
    with pytest.raises(InputError, match=r"same queries, got \(2, 3\) and \(2, 4\)"):
        recall_at(np.zeros((2, 3), int), np.zeros((2, 4), int))
    with pytest.raises(InputError, match="1 of the found lists name an id twice"):
        recall_at(np.array([[1, 1], [0, -1]]), np.array([[1, 2], [0, -1]]))


# -- databases that are timed


def pieces(codes, skipped):
    """Codes in two blocks, of which the first row is 5 of the pool; skipped: rows of the pool."""
    return [codes[:130], codes[130:]], [np.array([one for one in skipped if (one < 135) == early]) for early in (1, 0)]


def test_the_exact_database_finds_what_brute_force_does():
    codes, queries, skipped = normal(300, 8), normal(20, 8, seed=1), [7, 8, 140]
    blocks, gaps = pieces(codes, skipped)
    index = build_timed("Flat", blocks, sample=10, first=5, skipped=gaps)
    (ids, _), seconds = index.search_timed(queries, 6, repeats=3)
    usable = [row for row in range(300) if row + 5 not in skipped]
    np.testing.assert_array_equal(ids, brute_force(codes, queries, 6, usable) + 5)
    assert (index.rows, index.size, index.train_seconds) == (297, 300 * 8 * 4, 0)
    assert seconds.shape == (3,)
    assert (seconds > 0).all()


@pytest.mark.parametrize("factory", ["IVF8,Flat", "SQ8"])
def test_an_index_is_trained_on_the_first_rows_and_filled_with_all(factory):
    codes, queries, skipped = normal(800, 8), normal(40, 8, seed=1), [6, 9, 500]
    blocks, gaps = pieces(codes, skipped)
    index = build_timed(factory, blocks, sample=400, first=5, skipped=gaps)
    sample = codes[[row for row in range(400) if row + 5 not in skipped]]
    ours = Trained(trained=train(sample, factory)).build(blocks, first=5, skipped=gaps)
    assert index_to_bytes(index.parts[0].codes) == index_to_bytes(ours)
    assert (index.rows, index.size) == (797, len(index_to_bytes(ours)))
    probes = 1 if factory.startswith("IVF") else None
    ids, _ = index.search(queries, 10, probes)
    exact = brute_force(codes, queries, 10, [row for row in range(800) if row + 5 not in skipped]) + 5
    expected = [len(set(ours) & set(theirs)) / 10 for ours, theirs in zip(ids.tolist(), exact.tolist(), strict=True)]
    np.testing.assert_allclose(recall_at(ids, exact), expected)
    assert (0.2 < np.mean(expected) < 0.8) if probes else np.mean(expected) > 0.95
    assert not np.isin(ids, skipped).any()


def test_more_probes_find_more_until_all_is_found():
    codes, queries = normal(800, 8), normal(40, 8, seed=1)
    index, exact = (build_timed(one, [codes], sample=400) for one in ("IVF8,Flat", "Flat"))
    found = [
        recall_at(index.search(queries, 10, probes)[0], exact.search(queries, 10)[0]).mean() for probes in (1, 3, 8)
    ]
    assert found[0] < found[1] < found[2] == 1


def test_nothing_to_train_on_is_one_line():
    with pytest.raises(InputError, match="none of the first 3 rows has a code to train on"):
        build_timed("SQ8", [normal(6, 4)], sample=3, skipped=[np.array([0, 1, 2])])
    with pytest.raises(ConfigError, match="'Nonsense' is not understood by FAISS for d=4"):
        build_timed("Nonsense", [normal(6, 4)], sample=3)


# -- intervals


def test_the_paired_interval_is_agresti_and_mins():
    ours, reference = np.zeros(100, bool), np.zeros(100, bool)
    ours[:60], reference[:50] = True, True
    reference[90:94] = True
    # 10 gained, 4 lost; half an image more in each cell: 10.5 and 4.5 of 102.
    centre = (10.5 - 4.5) / 102
    error = np.sqrt(15 / 102 - centre**2) / np.sqrt(102)
    expected = (0.06, centre - 1.959964 * error, centre + 1.959964 * error)
    assert paired_difference(ours, reference) == pytest.approx(expected, abs=1e-6)
    assert paired_difference(reference, ours)[0] == pytest.approx(-0.06)


def test_the_paired_interval_covers():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        cells = rng.choice(4, size=200, p=[0.7, 0.04, 0.08, 0.18])
        _, low, high = paired_difference(np.isin(cells, (0, 1)), np.isin(cells, (0, 2)))
        held += low <= -0.04 <= high
    assert held / 400 == pytest.approx(0.95, abs=0.03)


def test_equal_answers_of_few_images_prove_no_equality():
    right = np.arange(20) < 12
    difference, low, high = paired_difference(right, right)
    assert low < -0.01 < difference == 0 < 0.01 < high
    right = np.arange(2000) < 1200
    assert -0.01 < paired_difference(right, right)[1] < 0


def test_the_interval_of_a_mean():
    values = np.array([0.2, 0.4, 0.9, 1.0])
    half = 1.959964 * values.std(ddof=1) / 2
    assert mean_interval(values) == pytest.approx((0.625 - half, min(1, 0.625 + half)), abs=1e-6)
    assert mean_interval(np.ones(5)) == (1, 1)
    with pytest.raises(InputError, match="two values or more, each 0 to 1; got 1"):
        mean_interval(np.ones(1))
    with pytest.raises(InputError, match=r"same images, got \(3,\) and \(4,\)"):
        paired_difference(np.ones(3, bool), np.ones(4, bool))


# -- the script, on files of a small database

SIZE, WIDTH, CLASSES, K, ASKED = 600, 12, 5, 9, 30
SHARDS = ((0, 250), (250, SIZE))
SKIPPED = [3, 260]
BELONGS = {"model": "net", "layer": "conv_4_1", "pool": "Web"}
PACK = "raw01/gray_box/pgd/eps-0.02,0.06"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Codes and softmax rows of two shards, each without one row; features of clean and attacked images."""
    root, rng = tmp_path_factory.mktemp("database"), np.random.default_rng(0)
    fitted = {"mean": rng.normal(size=WIDTH).astype(np.float32), "components": np.eye(8, WIDTH, dtype=np.float32)}
    spread = {"explained_variance": np.ones(8), "explained_variance_ratio": np.full(8, 0.1), "samples": np.array(SIZE)}
    write_arrays(root / "pca.npz", **fitted, **spread)
    codes = rng.normal(size=(SIZE, 8)).astype(np.float32)
    softmax = rng.dirichlet(np.full(CLASSES, 0.4), size=SIZE).astype(np.float16)
    for start, stop in SHARDS:
        facts = BELONGS | {"start": start, "stop": stop, "pca": file_sha256(root / "pca.npz")}
        rows, name = softmax[start:stop], f"{start}-{stop}"
        write_array(root / f"codes/{name}.npy", codes[start:stop], facts)
        write_array(root / f"skipped/{name}.npy", np.array([one for one in SKIPPED if start <= one < stop]), facts)
        write_array(root / f"softmax/{name}.npy", rows, facts)
        write_array(root / f"weights/{name}.npy", stored_weights(rows.astype(np.float32)), facts)
        write_array(root / f"checks/{name}.npy", row_checks(rows, first=start), facts)
        write_array(root / f"pixels/{name}.npy", np.arange(start + 1, stop + 1, dtype=np.uint64), facts)
    for pack, sets in (("clean", ["clean"]), (PACK, ["0.02", "0.06"])):
        features = rng.normal(size=(ASKED * len(sets), WIDTH)).astype(np.float16)
        facts = BELONGS | {"sets": sets, "start": 0, "stop": len(features), "skipped": [len(features) - 1]}
        write_array(root / f"features/{pack}.npy", features, facts)
        distances = {f"{name}/delta_raw01": np.zeros(ASKED) for name in sets}
        labels = np.random.default_rng(9).integers(0, CLASSES, ASKED)
        distances |= {f"{name}/idle": np.arange(ASKED) < 2 for name in sets}
        sums = np.full(ASKED, 2**63, dtype=np.uint64)
        write_arrays(root / f"attacks/{pack}.npz", labels=labels, rows=np.arange(ASKED), pixels=sums, **distances)
    return root


def shard_files(root, *kinds, end="npy"):
    return {kind: [root / f"{kind}/{start}-{stop}.{end}" for start, stop in SHARDS] for kind in kinds}


def measure(root, factory, probes=None, **changes):
    arguments = {
        **shard_files(root, "codes", "skipped", "softmax", "weights", "checks"),
        "pca": root / "pca.npz",
        "queries": [root / f"features/{pack}.npy" for pack in ("clean", PACK)],
        "members": ["clean", "0.06"],
        "clean": root / "attacks/clean.npz",
        **{"neighbors": K, "weighting": "CBW-D", "combination": "soft", "samples": 250, "repeats": 2},
    }
    output = root / f"report/{factory}.npz"
    call("measure_index", factory=factory, probes=probes, output=output, **(arguments | changes))
    return read_arrays(output)


def searched(root, shards, probes=1):
    """Lists (2, Q, K) of the workflow's own search of the two query sets."""
    outputs = [root / f"neighbors/{pack}.npz" for pack in ("clean", PACK)]
    call(
        "search_span",
        queries=[root / f"features/{pack}.npy" for pack in ("clean", PACK)],
        pca=root / "pca.npz",
        shards=shards,
        **shard_files(root, "skipped"),
        stops=[SIZE],
        neighbors=K,
        probes=probes,
        neighbors_files=outputs,
    )
    return np.stack([read_arrays(path)["ids"][-1, 0] for path in outputs])


def voted(root):
    """Classes (2, Q) that the workflow's own votes of the lists that `searched` wrote choose."""
    packs = ("clean", PACK)
    call(
        "vote",
        names=packs,
        queries=[root / f"attacks/{pack}.npz" for pack in packs],
        pools=["Web"],
        sizes=[[SIZE]],
        neighbors=[root / f"neighbors/{pack}.npz" for pack in packs],
        **shard_files(root, "softmax", "weights", "checks", "pixels"),
        clean=root / "attacks/clean.npz",
        left_out=[],
        k=[K],
        weightings=["CBW-D"],
        combinations=["soft"],
        layer="conv_4_1",
        predictions=[root / f"predictions/{pack}.npz" for pack in packs],
    )
    names = [f"{one}@Web/{SIZE}/{K}/CBW-D/soft" for one in ("clean", "0.06")]
    return np.stack(
        [read_arrays(root / f"predictions/{pack}.npz")[name] for pack, name in zip(packs, names, strict=True)]
    )


def test_the_exact_search_answers_as_the_workflow_does(root):
    found = measure(root, "Flat")
    np.testing.assert_array_equal(found["ids"], searched(root, shard_files(root, "codes")["codes"]))
    np.testing.assert_array_equal(found["classes"], voted(root))
    assert found["search_seconds"].shape == (2, 2)
    assert found["bytes_per_vector"] * (SIZE - len(SKIPPED)) == SIZE * 8 * 4
    assert np.array_equal((found["ids"] < 0).all(axis=2).nonzero(), [[0, 1], [ASKED - 1] * 2])


def test_an_index_answers_as_that_of_the_workflow_does(root):
    found = measure(root, "IVF4,Flat", probes=2)
    files = shard_files(root, "codes", "skipped")
    trained, indexes = root / "index/trained.faiss", shard_files(root, "index", end="faiss")["index"]
    first = {kind: paths[:1] for kind, paths in files.items()}
    call("train_index", **first, factory="IVF4,Flat", samples=250, output=trained)
    for codes, skipped, output in zip(*files.values(), indexes, strict=True):
        call("build_index", trained=trained, codes=codes, skipped=skipped, output=output)
    np.testing.assert_array_equal(found["ids"], searched(root, indexes, probes=2))
    np.testing.assert_array_equal(found["classes"], voted(root))
    recall = recall_at(found["ids"][0], measure(root, "Flat")["ids"][0])
    assert 0.3 < np.nanmean(recall) < 1
    assert np.flatnonzero(np.isnan(recall)).tolist() == [ASKED - 1]
    assert found["train_seconds"] > 0


def test_a_query_set_that_is_not_there_is_named(root):
    with pytest.raises(FileFault, match=r"0\.06\.npy: lacks the query set 0\.04, it has 0\.02, 0\.06; delete it"):
        measure(root, "Flat", members=["clean", "0.04"])


def test_queries_of_another_network_are_refused(root):
    path = root / "other.npy"
    facts = BELONGS | {"model": "other", "sets": ["clean"], "start": 0, "stop": ASKED, "skipped": []}
    write_array(path, np.zeros((ASKED, WIDTH), np.float16), facts)
    with pytest.raises(FileFault, match=r"other\.npy: has model other, the database net; delete it and rerun"):
        measure(root, "Flat", queries=[path], members=["clean"])
