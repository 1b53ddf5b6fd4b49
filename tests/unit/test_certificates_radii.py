"""Certified radii against embeddings whose true distances are known, over many repetitions."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from nndefense.certificates import CERTIFICATES, cdf
from nndefense.certificates import draws as reading
from nndefense.certificates.base import Gallery, pair_up
from nndefense.certificates.bounds import empirical_bernstein, vector_error
from nndefense.certificates.cdf import THRESHOLDS, bounded_cdf_gaps
from nndefense.certificates.gaussian import bounded_gaps
from nndefense.certificates.vote import vote_radius
from nndefense.core.errors import InputError

SIGMA, ALPHA = 0.25, 0.05
CERTIFY = {name: entry.load() for name, entry in CERTIFICATES.items()}
OF_THE_MEAN = ("linear", "gaussian", "cdf")
every_certificate = pytest.mark.parametrize("name", list(CERTIFICATES))


def sign(pixels):
    """A half-space: (n, 2) pixels to (n, 1) embeddings of length 1. The true distance is the first pixel."""
    return np.where(pixels[:, :1] > 0, 1.0, -1.0)


def ridge(pixels):
    return np.tanh(3 * pixels[:, :1])


def quadrants(pixels):
    """Within the unit disc; the class is the quadrant, the true distance the smaller pixel."""
    return np.tanh(3 * pixels) / np.sqrt(2)


def one_hot(pixels):
    """The half-space without negative entries."""
    return np.concatenate([pixels[:, :1] > 0, pixels[:, :1] <= 0], axis=1).astype(float)


def two_points(scale=1.0):
    return Gallery(scale * np.array([[-1.0], [1.0]]), np.array([0, 1]))


def four_corners():
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) / np.sqrt(2)
    return Gallery(np.concatenate([0.3 * corners, 0.7 * corners]), np.tile(np.arange(4), 2))


def copies(embed, image, n, rng, sigma=SIGMA):
    return embed(np.asarray(image) + sigma * rng.standard_normal((n, 2)))


def even_copies(embed, image, n, sigma=SIGMA):
    """Copies whose first pixel has the quantiles of the noise: as good as infinitely many."""
    noise = sigma * ndtri((np.arange(n) + 0.5) / n)
    return embed(np.asarray(image) + np.stack([noise, np.zeros(n)], axis=1))


def unit_rows(rng, centre, n, spread=0.05):
    rows = centre + spread * rng.standard_normal((n, len(centre)))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def retrieval_case(seed=0, n=400, size=40, width=12, classes=4, spread=0.05):
    """(first, draws, gallery) of a query of class 1 among vectors of several classes."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(rng, np.zeros(width), classes, 1)
    labels = np.arange(size) % classes
    gallery = Gallery(0.9 * np.concatenate([unit_rows(rng, centres[label], 1) for label in labels]), labels)
    return unit_rows(rng, centres[1], 60, spread), unit_rows(rng, centres[1], n, spread), gallery


def run(name, first, draws, gallery, sigma=SIGMA, alpha=ALPHA, nonnegative=False):
    return CERTIFY[name](first, draws, gallery, sigma=sigma, alpha=alpha, nonnegative=nonnegative)


@pytest.mark.parametrize("scale", [1.0, 0.2])
@pytest.mark.parametrize("embed", ["sign", "one_hot"])
def test_certificates_of_the_half_space_approach_the_formulas(embed, scale):
    """Also without negative entries, where A has the constant of a narrower range."""
    nonnegative = embed == "one_hot"
    gallery = Gallery(scale * np.eye(2)[::-1], np.array([0, 1])) if nonnegative else two_points(scale)
    embed = {"sign": sign, "one_hot": one_hot}[embed]
    first, draws = even_copies(embed, [0.2, 0], 500), even_copies(embed, [0.2, 0], 400_000)
    for name, limit in (("linear", 0.1806), ("gaussian", 0.2), ("cdf", 0.2), ("vote", 0.2)):
        found = run(name, first, draws, gallery, nonnegative=nonnegative)
        assert found.label == 1
        assert 0.985 * limit < found.radius < limit, name
        if nonnegative and name in ("linear", "gaussian"):
            assert run(name, first, draws, gallery).radius < 0.9 * limit


@every_certificate
def test_no_radius_passes_the_true_distance_of_a_half_space(name):
    """The hardest case: all but A are tight, so that a bound that is wrong, or too small, shows at once."""
    rng = np.random.default_rng(1)
    first = copies(sign, [0.2, 0], 40, rng)
    gallery = two_points(0.3)
    radii = np.array([run(name, first, copies(sign, [0.2, 0], 150, rng), gallery).radius for _ in range(2000)])
    assert (radii > 0.2).mean() <= ALPHA
    if name == "vote":
        # The misses that the counts of 150 copies allow, exactly.
        counts = np.arange(151)
        share = binom.pmf(counts, 150, ndtr(0.8))[[vote_radius(k, 150, SIGMA, ALPHA) > 0.2 for k in counts]].sum()
        assert 0.02 < share <= ALPHA
        assert (radii > 0.2).mean() == pytest.approx(share, abs=0.02)
    assert radii.mean() > {"linear": 0.07, "gaussian": 0.07, "cdf": 0.05, "vote": 0.14}[name]


@every_certificate
def test_no_radius_passes_the_true_distance_among_quadrants(name):
    rng = np.random.default_rng(2)
    radii, wrong = [], 0
    for _ in range(300):
        found = run(
            name, copies(quadrants, [0.4, -0.3], 30, rng), copies(quadrants, [0.4, -0.3], 400, rng), four_corners()
        )
        radii.append(found.radius)
        wrong += found.label not in (1, -1)
    assert wrong == 0
    assert max(radii) <= 0.3
    assert np.mean(radii) > {"linear": 0.02, "gaussian": 0.02, "cdf": 0.08, "vote": 0.15}[name]


def test_certificates_of_a_ridge():
    """tanh(3 v . x) at the distance 0.3: the whole distribution shows most of it, its mean two thirds."""
    rng = np.random.default_rng(3)
    radii = {name: [] for name in CERTIFICATES}
    for _ in range(25):
        first, draws = copies(ridge, [0.3, 0], 100, rng), copies(ridge, [0.3, 0], 10_000, rng)
        for name in CERTIFICATES:
            radii[name].append(run(name, first, draws, two_points(0.5), alpha=0.001).radius)
    for name in CERTIFICATES:
        assert max(radii[name]) <= 0.3
    assert min(radii["cdf"]) >= 0.25
    assert max(radii["gaussian"]) < 0.2
    assert max(radii["linear"]) < 0.18
    assert (np.array(radii["cdf"]) > radii["gaussian"]).all()
    assert (np.array(radii["gaussian"]) > radii["linear"]).all()


def test_where_the_mean_says_all_the_cdf_is_b_with_half_of_alpha():
    rng = np.random.default_rng(4)
    first, draws = copies(sign, [0.2, 0], 40, rng), copies(sign, [0.2, 0], 5000, rng)
    assert run("cdf", first, draws, two_points()) == run("gaussian", first, draws, two_points(), alpha=ALPHA / 2)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_b_takes_of_each_pair_the_better_bound_with_its_share_of_alpha(nonnegative):
    """Few draws that hardly vary favour the bound of the vector, many the scalars' own."""
    better = set()
    for n, spread in ((400, 0.05), (5000, 0.2)):
        first, draws, gallery = retrieval_case(n=n, spread=spread)
        first, draws, vectors = (np.abs(part) if nonnegative else part for part in (first, draws, gallery.vectors))
        right, wrong = vectors[gallery.labels == 1], vectors[gallery.labels != 1]
        pairs = pair_up(first.mean(axis=0), right, wrong, nonnegative)
        values = draws @ pairs.normals.T
        error = vector_error(np.linalg.norm(draws.mean(axis=0)), n, ALPHA / 2)
        widths = pairs.highs - pairs.lows
        own = empirical_bernstein(values.mean(axis=0), values.var(axis=0, ddof=1), n, widths, ALPHA / (2 * len(pairs)))
        means = np.minimum(values.mean(axis=0) + error, own)
        better.update(own < values.mean(axis=0) + error)
        expected = ndtri((pairs.bisectors - pairs.lows) / widths) - ndtri(((means - pairs.lows) / widths).clip(0, 1))
        found = bounded_gaps(draws, pairs, first.mean(axis=0), ALPHA, nonnegative)
        np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-9)
        assert (found > 0).any()
    assert better == {True, False}


def test_radii_vanish_with_the_noise():
    first, draws, gallery = retrieval_case()
    for name in CERTIFICATES:
        one, tiny = (run(name, first, draws, gallery, sigma=sigma) for sigma in (1.0, 1e-12))
        assert one.radius > 0.05
        assert tiny.radius == pytest.approx(1e-12 * one.radius)


@pytest.mark.parametrize("name", OF_THE_MEAN)
def test_copies_with_another_label_leave_no_radius(name):
    first, draws, gallery = retrieval_case()
    vectors, labels = gallery.vectors, gallery.labels
    nearest = np.linalg.norm(vectors - draws.mean(axis=0), axis=1).argmin()
    radius = run(name, first, draws, gallery).radius
    assert radius > 0.01

    def radius_with(vector, *more):
        return run(name, first, draws, Gallery(np.vstack([vectors, *([vector] * len(more))]), np.append(labels, more)))

    copied = radius_with(vectors[nearest], 0)
    assert (copied.label, copied.radius) == (-1, 0)
    # A nearer right vector keeps out the copy of one that is far.
    assert radius_with(-vectors[nearest], 1, 0).radius > 0.5 * radius
    # Its own class may repeat it.
    assert radius_with(vectors[nearest], 1).radius == pytest.approx(radius, rel=1e-9)
    same = Gallery(np.tile(vectors[nearest], (2, 1)), np.array([1, 0]))
    assert run(name, first, draws, same).radius == 0


@every_certificate
def test_certificates_abstain_where_there_is_nothing_to_prove(name):
    rng = np.random.default_rng(5)
    _, _, gallery = retrieval_case()
    noise = unit_rows(rng, np.zeros(12), 460, 1)
    found = run(name, noise[:60], noise[60:], gallery)
    assert (found.label, found.radius) == (-1, 0)


@every_certificate
def test_where_there_is_one_class_nothing_can_change_the_answer(name):
    first, draws, gallery = retrieval_case()
    found = run(name, first, draws, Gallery(gallery.vectors, np.full(40, 3)))
    assert (found.label, found.radius) == (3, np.inf)


@every_certificate
def test_draws_of_a_memory_map_in_any_blocks_and_galleries_in_any_order(name, tmp_path, monkeypatch):
    first, draws, gallery = retrieval_case(n=900)
    half = draws.astype(np.float16)
    np.save(tmp_path / "draws.npy", half)
    mapped = np.load(tmp_path / "draws.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    found = run(name, first, half, gallery)
    assert found.radius > 0.01
    assert run(name, first, mapped, gallery) == found
    order = np.random.default_rng(6).permutation(40)
    shuffled = run(name, first, half, Gallery(gallery.vectors[order], gallery.labels[order]))
    monkeypatch.setattr(reading, "BLOCK", 64)
    for other in (shuffled, run(name, first, half, gallery), run(name, first, half.astype(np.float32), gallery)):
        assert other.label == found.label
        assert other.radius == pytest.approx(found.radius, rel=1e-9)


@every_certificate
def test_memory_does_not_grow_with_the_draws(name, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 1000)
    first, draws, gallery = retrieval_case(n=1000)
    np.save(tmp_path / "draws.npy", np.tile(draws.astype(np.float16), (60, 1)))
    mapped = np.load(tmp_path / "draws.npy", mmap_mode="r")
    peaks = []
    for rows in (2000, 60_000):
        tracemalloc.start()
        run(name, first, mapped[:rows], gallery)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def test_the_smallest_gap_is_that_of_all_pairs_but_not_all_are_asked_for(monkeypatch):
    monkeypatch.setattr(cdf, "CHUNK", 2)
    asked = []

    def counted(first, draws, pairs, *rest, **limit):
        asked.append(len(pairs))
        return bounded_cdf_gaps(first, draws, pairs, *rest, **limit)

    monkeypatch.setattr(cdf, "bounded_cdf_gaps", counted)
    rng = np.random.default_rng(8)
    near = copies(quadrants, [0.4, 0.15], 60, rng), copies(quadrants, [0.4, 0.15], 3000, rng), four_corners()
    for first, draws, gallery in (near, *(retrieval_case(seed, spread=0.02 * (1 + seed), n=2000) for seed in range(5))):
        asked.clear()
        label = run("vote", first, draws, gallery).label
        centre = first.mean(axis=0)
        pairs = pair_up(
            centre, gallery.vectors[gallery.labels == label], gallery.vectors[gallery.labels != label], False
        )
        share = ALPHA / (2 * len(pairs) * THRESHOLDS)
        by_mean = bounded_gaps(draws, pairs, centre, ALPHA / 2, False)
        gaps = np.maximum(by_mean, bounded_cdf_gaps(first, draws, pairs, share, False))
        found = run("cdf", first, draws, gallery)
        assert found.radius == pytest.approx(SIGMA * gaps.min(), rel=1e-9)
        assert found.radius > 0
        assert sum(asked) == len(pairs) if len(gallery.labels) > 8 else sum(asked) < len(pairs)


@every_certificate
def test_arguments_out_of_range_are_named(name):
    first, draws, gallery = retrieval_case(n=20)
    good = {"first": first, "draws": draws, "gallery": gallery}
    for change, words in (
        ({"first": first[:0]}, r"first has shape \(0, 12\); allowed: \(n, 12\) with n >= 1"),
        ({"draws": draws[:1]}, r"draws has shape \(1, 12\); allowed: \(n, 12\) with n >= 2"),
        ({"draws": draws[:, :5]}, r"draws has shape \(20, 5\)"),
        ({"draws": 2 * draws}, "length 2; allowed: at most 1"),
        ({"first": 2 * first}, "length 2"),
        ({"sigma": 0.0}, r"sigma is 0.0; allowed: a number > 0"),
        ({"sigma": float("nan")}, "sigma is nan"),
        ({"alpha": 1.0}, r"alpha is 1.0; allowed: a number within \(0, 1\)"),
        ({"nonnegative": True}, "allowed: none below 0"),
    ):
        with pytest.raises(InputError, match=words):
            run(name, **{**good, **change})
