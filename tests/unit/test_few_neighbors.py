"""More neighbours asked for than there are: empty places count for nothing, and no id -1 reads a row."""

import argparse
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gather_knowledge
from nndefense.core.arrays import read_arrays, write_array, write_arrays
from nndefense.core.command import Job
from nndefense.database.index import build_index, search
from nndefense.database.merge import merge_neighbors
from nndefense.database.row_checks import row_checks
from nndefense.database.softmax_store import SoftmaxStore
from nndefense.evaluation.readers import read_neighbor_images
from nndefense.images.pool import PoolReader
from nndefense.images.pool_file import Found
from nndefense.report.figures.fig2 import draw, neighborhoods
from nndefense.retrieval.votes import COMBINATIONS, vote_neighbors
from nndefense.retrieval.weights import stored_weights
from tests.unit.adaptive_cases import bound_of, made_up, queries
from tests.unit.attack_cases import MEAN, STD, draw_images, make_attack, make_context, make_problem, run, trained_net

seeds = st.integers(0, 2**32 - 1)
WEIGHTINGS = ("UW", "CBW-E", "CBW-D")


def votes_of(rows, ids, neighbors):
    """Votes by ids into a store whose last row, the one at -1, is read by nobody who asks for no row."""
    store = SoftmaxStore([(0, len(rows), rows, stored_weights(rows))])
    axes = {"neighbors": neighbors, "weightings": WEIGHTINGS, "combinations": COMBINATIONS}
    return vote_neighbors(store.take, ids, classes=rows.shape[1], **axes)[0]


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(1, 30))
def test_any_k_beyond_the_database_votes_as_all_of_it(seed, rows, k):
    rng = np.random.default_rng(seed)
    softmax = rng.dirichlet(np.full(4, 0.4), size=rows).astype(np.float32)
    codes, asked = (rng.normal(size=(count, 3)).astype(np.float32) for count in (rows, 6))
    ids, _ = search(build_index(codes), asked, k)
    assert (ids >= 0).sum(axis=1).tolist() == [min(k, rows)] * 6
    whole = min(k, rows)
    expected = votes_of(softmax, ids[:, :whole], [whole])
    for (_, weighting, combination), classes in votes_of(softmax, ids, [k]).items():
        np.testing.assert_array_equal(classes, expected[whole, weighting, combination])


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(1, 3))
def test_lists_with_gaps_of_an_inverted_file_vote_as_what_is_in_them(seed, lists, probes):
    rng = np.random.default_rng(seed)
    codes, asked = (rng.normal(size=(count, 4)).astype(np.float32) for count in (40, 9))
    softmax = rng.dirichlet(np.full(3, 0.4), size=40).astype(np.float32)
    index = build_index(codes, f"IVF{4 * lists},Flat")
    ids, distances = search(index, asked, 25, nprobe=probes)
    # Shards and spans pass such lists on.
    ids, distances = merge_neighbors([(ids, distances), (ids[:, :0], distances[:, :0])], 25)
    np.testing.assert_array_equal(ids >= 0, np.isfinite(distances))
    found = votes_of(softmax, ids, [25])
    for query, own in enumerate(ids):
        kept = own[own >= 0][None]
        if kept.size:
            expected = votes_of(softmax, kept, [kept.shape[1]])
            for (_, weighting, combination), classes in found.items():
                assert classes[query] == expected[kept.shape[1], weighting, combination][0]


# -- the deployed defence and its surrogate


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_a_database_smaller_than_k_answers_as_one_of_its_size(combination):
    codes, rows = (one[:5] for one in made_up())
    images = queries(12)
    places = torch.arange(12)
    few, all_of_them = (bound_of(codes, rows, k=k, combination=combination) for k in (9, 5))
    found, expected = (one.probabilities(images, rows=places, seed=0) for one in (few, all_of_them))
    assert torch.equal(found, expected)
    assert (few.neighbors(images).ids >= 0).sum(axis=1).tolist() == [5] * 12
    with torch.enable_grad():
        moved = images.clone().requires_grad_()
        logits = few.surrogate(moved, rows=places, seed=0)
        (gradient,) = torch.autograd.grad(logits.sum(), moved)
    assert logits.isfinite().all()
    assert gradient.isfinite().all()
    torch.testing.assert_close(logits.detach(), all_of_them.surrogate(images, rows=places, seed=0))


# -- attackers


@pytest.mark.parametrize("name", ["pgd_pr", "pgd_pr_hard", "pgd_pr_literal"])
def test_places_without_a_neighbour_do_not_change_an_attack(name):
    net, images, labels = trained_net()
    context = make_context(images)
    longer = dict(context)
    longer["neighbor_softmax"] = torch.cat([context["neighbor_softmax"], torch.zeros(24, 3, 3)], dim=1)
    pictures = context["neighbor_images"]
    longer["neighbor_images"] = torch.cat([pictures, torch.full_like(pictures[:, :2], torch.nan)], dim=1)
    attack = make_attack(name, gamma=0.5)
    own, other = (attack.prepare(make_problem(net, images, labels, context=one)) for one in (context, longer))
    torch.testing.assert_close(other.context["neighbor_term"], own.context["neighbor_term"])
    assert own.context["neighbor_term"].abs().sum() > 0


def test_an_image_without_neighbours_has_nothing_to_leave():
    images, labels = draw_images(4)
    context = make_context(images)
    context["neighbor_codes"] = context["neighbor_codes"].clone()
    context["neighbor_codes"][2] = torch.nan
    model = trained_net()[0]
    problem = make_problem(model, images, labels, context=context)
    attack = make_attack("pgd_fs")
    gradient = attack.gradient(attack.prepare(problem), images)
    assert (gradient == 0).flatten(1).all(dim=1).tolist() == [False, False, True, False]


@pytest.fixture
def knowledge(tmp_path):
    """What is gathered of three queries in a database of 4 images, which have 4, 2 and no neighbours; its codes."""
    rng = np.random.default_rng(0)
    softmax = rng.dirichlet(np.ones(3), size=4).astype(np.float16)
    codes = rng.normal(size=(4, 5)).astype(np.float32)
    facts = {"pool": "Web", "start": 0, "stop": 4, "model": "net"}
    write_array(tmp_path / "softmax.npy", softmax, facts)
    write_array(tmp_path / "weights.npy", stored_weights(softmax.astype(np.float32)), facts)
    write_array(tmp_path / "checks.npy", row_checks(softmax, first=0), facts)
    write_array(tmp_path / "codes.npy", codes, facts)
    ids = np.array([[0, 3, 1, 2, -1], [2, 1, -1, -1, -1], [-1] * 5])
    distances = np.where(ids < 0, np.inf, np.arange(5, dtype=np.float32)).astype(np.float32)
    write_arrays(tmp_path / "lists.npz", stops=np.array([4]), ids=ids[None, None], distances=distances[None, None])
    paths = {name: [tmp_path / f"{name}.npy"] for name in ("softmax", "weights", "checks", "codes")}
    log = io.StringIO()
    arguments = {"lists": [tmp_path / "lists.npz"], "stops": [4], "neighbors": 5, "output": tmp_path / "known.npz"}
    gather_knowledge.main(argparse.Namespace(**paths, **arguments), Job(log, 0, 1))
    return tmp_path, ids, codes, log.getvalue()


def test_knowledge_is_of_neighbours_that_there_are(knowledge):
    folder, ids, codes, log = knowledge
    found = read_arrays(folder / "known.npz")
    np.testing.assert_array_equal(found["ids"], ids)
    np.testing.assert_allclose(found["neighbor_codes"][0, 0], codes.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["neighbor_codes"][1, 0], codes[[1, 2]].mean(axis=0), rtol=1e-6)
    assert np.isnan(found["neighbor_codes"][2]).all()
    assert (found["neighbor_softmax"].sum(axis=2) > 0).tolist() == (ids >= 0).tolist()
    assert "3 images have fewer, 2.00 on average" in log


def test_pictures_are_of_neighbours_that_there_are(knowledge, monkeypatch):
    folder, ids, *_ = knowledge
    asked = []

    def read(places):
        asked.extend(places.tolist())
        return SimpleNamespace(
            images=np.full((len(places), 2, 2, 3), 51, dtype=np.uint8) * (1 + places % 2)[:, None, None, None]
        )

    monkeypatch.setattr(PoolReader, "open", lambda *_: SimpleNamespace(read=read))
    take = read_neighbor_images([folder / "known.npz", "pool", "set.json"], {}, None)["neighbor_images"].take
    pixels = take(slice(0, 3))
    assert pixels.shape == (3, 5, 3, 2, 2)
    assert min(asked) >= 0
    assert torch.isnan(pixels).flatten(2).all(dim=2).tolist() == (ids < 0).tolist()
    torch.testing.assert_close(pixels[0, 1], torch.full((3, 2, 2), 0.4))
    assert torch.isnan(take(slice(2, 3))).all()


def test_no_places_of_a_pool_are_no_images():
    nothing = Found(np.array([], dtype=object), np.array([], dtype=np.int64))
    reader = PoolReader(SimpleNamespace(rows_at=lambda places: nothing), {"web": SimpleNamespace(size=7)})
    assert reader.read([]).images.shape == (0, 7, 7, 3)


# -- a figure


def test_a_figure_shows_as_many_neighbours_as_all_rows_have():
    softmax = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    store = SoftmaxStore([(0, 4, softmax, stored_weights(softmax))])

    def shown(ids):
        one = SimpleNamespace(
            ids=np.array([ids]), distances=np.ones((1, 5)), predicted=np.array([1]),
            queries=SimpleNamespace(ball=None, epsilon=0.0), image=lambda place: np.zeros((2, 2, 3)),
        )  # fmt: skip
        one.queries.attack = "none"
        return one

    def scene(*lists):
        read = SimpleNamespace(read=lambda ids: SimpleNamespace(images=np.zeros((len(ids), 2, 2, 3), np.uint8)))
        names = ["a", "b", "c"]
        return SimpleNamespace(shown=[shown(ids) for ids in lists], store=store, database=read, class_names=names)

    params = {"weighting": "UW", "neighbors": 5, "combination": "soft"}
    rows = neighborhoods(scene([3, 1, 0, -1, -1], [2, 1, -1, -1, -1]), 0, params)
    assert [row.ids for row in rows] == [[3, 1], [2, 1]]
    assert [list(row.classes) for row in rows] == [["a", "b"], ["c", "b"]]
    with pytest.raises(Exception, match=r"same number of neighbours, got \[0\]"):
        draw(neighborhoods(scene([-1] * 5, [0, 1, 2, 3, -1]), 0, params), "a", params)


def test_attacks_run_where_neighbours_are_few():
    net, images, labels = trained_net()
    context = make_context(images)
    context["neighbor_softmax"][:, 1:] = 0
    context["neighbor_softmax"][3] = 0
    found = run(make_attack("pgd_pr_hard", gamma=0.5), net, images, labels, context=context, statistics=(MEAN, STD))
    assert found.images.isfinite().all()
    assert not found.idle.any()
