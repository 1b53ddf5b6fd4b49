"""Noisy copies of images: whose noise is whose, means, memory, streamed files, counted progress."""

import io
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.arrays import read_array, stream_array, write_array
from nndefense.core.errors import FileFault, InputError
from nndefense.core.progress import Progress, counted
from nndefense.models.embedding import (
    Embedding,
    as_stored,
)
from nndefense.models.smoothing import (
    PART,
    draw_noise,
    noisy_answers,
    noisy_embeddings,
    noisy_features,
    smoothed_means,
)
from nndefense.models.standardize import Standardized

from .attack_cases import MEAN, STD, Curved

SIZE = 6
NOISE = {"sigma": 0.25, "seed": 11}


def exact():
    """An embedding that is computed image by image, so that other images of a batch cannot change a bit."""
    return Embedding(Standardized(Curved(SIZE), MEAN, STD, classes=3).eval(), "output")


def pictures(count=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def pixels(images):
    return torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2)) / 255


def collected(draws):
    """Draws of each image, (count, D), in order."""
    found = {}
    for place, start, values in draws:
        own = found.setdefault(place, [])
        assert start == sum(map(len, own))
        own.append(values)
    assert list(found) == sorted(found)
    return {place: np.concatenate(own) for place, own in found.items()}


# -- noise


def noise_of(count, seed, row, part):
    return draw_noise(torch.empty(count, 3, SIZE, SIZE), seed, row, part).numpy()


def test_noise_is_a_function_of_seed_image_and_part():
    before = torch.get_rng_state()
    noise = noise_of(PART, 1, 2, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    np.testing.assert_array_equal(noise_of(PART, 1, 2, 0), noise)
    for key in ((2, 2, 0), (1, 3, 0), (1, 2, 1), (2, 1, 0)):
        assert abs(np.corrcoef(noise.ravel(), noise_of(PART, *key).ravel())[0, 1]) < 0.1
    # Also where ids and seeds are large, and into memory that holds something.
    assert not np.array_equal(noise_of(PART, 1, 2**40, 0), noise_of(PART, 1, 2**41, 0))
    np.testing.assert_array_equal(draw_noise(torch.full((PART, 3, SIZE, SIZE), 7.0), 1, 2, 0), noise)


def test_copies_are_the_image_and_gaussian_noise_that_is_not_clipped():
    images = pictures(3)

    def ask(noisy):
        return noisy.flatten(1).numpy().astype(np.float64)

    found = collected(noisy_answers(ask, images, np.arange(3), count=2000, **NOISE))
    for place, copies in found.items():
        noise = (copies - pixels(images)[place].flatten().numpy()) / 0.25
        assert noise.shape == (2000, 108)
        assert abs(noise.mean()) < 5 / noise.size**0.5
        assert abs(noise.std() - 1) < 5 / (2 * noise.size) ** 0.5
        assert np.abs(np.corrcoef(noise.T) - np.eye(108)).max() < 6 / 2000**0.5
        assert np.abs(np.corrcoef(noise[:100]) - np.eye(100)).max() < 0.6
        assert copies.min() < -0.2
        assert copies.max() > 1.2


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 130), st.integers(1, 400), st.integers(1, 5), st.data())
def test_batches_and_other_images_change_no_bit(count, batch, images, data):
    embedding, everything, rows = exact(), pictures(5), np.array([7, 0, 3, 2**40, 11])
    chosen = data.draw(st.permutations(range(5)))[:images]
    whole = collected(noisy_embeddings(embedding, everything, rows, count=count, batch=250, **NOISE))
    part = collected(noisy_embeddings(embedding, everything[chosen], rows[chosen], count=count, batch=batch, **NOISE))
    assert len(part) == images
    for place, own in enumerate(chosen):
        np.testing.assert_array_equal(part[place], whole[own])


def test_further_draws_are_fresh():
    embedding, images, rows = exact(), pictures(2), np.array([4, 9])
    whole = collected(noisy_embeddings(embedding, images, rows, count=4 * PART, **NOISE))
    further = collected(noisy_embeddings(embedding, images, rows, count=2 * PART, first=2, **NOISE))
    for place in range(2):
        np.testing.assert_array_equal(further[place], whole[place][2 * PART :])
        fewer = collected(noisy_embeddings(embedding, images, rows, count=3 * PART - 20, **NOISE))[place]
        np.testing.assert_array_equal(fewer[: 2 * PART], whole[place][: 2 * PART])
        assert len(np.unique(whole[place], axis=0)) == 4 * PART
    other = collected(noisy_embeddings(embedding, images, rows, count=PART, **(NOISE | {"seed": 12})))
    assert not np.isin(other[0][:, 0], whole[0][:, 0]).all()
    assert not np.array_equal(whole[0], whole[1])


def test_forms_of_the_images_and_no_noise():
    embedding, images, rows = exact(), pictures(3), np.arange(3)
    found = [
        collected(noisy_embeddings(embedding, form, rows, count=5, **NOISE))
        for form in (images, pixels(images), pixels(images).numpy())
    ]
    for place in range(3):
        np.testing.assert_array_equal(found[0][place], found[1][place])
        np.testing.assert_array_equal(found[0][place], found[2][place])
    with torch.no_grad():
        clean = as_stored(embedding(pixels(images)))
    still = collected(noisy_embeddings(embedding, images, rows, count=2, sigma=0.0, seed=1))
    for place in range(3):
        np.testing.assert_array_equal(still[place], np.stack([clean[place]] * 2))


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing():
    embedding, images, rows = exact(), pictures(3), np.arange(3)
    whole = collected(noisy_embeddings(embedding, images, rows, count=120, **NOISE))
    asked = []

    def ask(noisy):
        asked.append(len(noisy))
        if len(noisy) > 130:
            raise MemoryError
        return as_stored(embedding(noisy))

    found = collected(noisy_answers(ask, images, rows, count=120, batch=1000, **NOISE))
    assert max(asked) > 130
    for place in range(3):
        np.testing.assert_array_equal(found[place], whole[place])


def test_means_equal_a_plain_loop():
    embedding, images, rows = exact(), pictures(3), np.array([5, 8, 2])
    found = smoothed_means(noisy_embeddings(embedding, images, rows, count=70, batch=90, **NOISE), 3)
    for place in range(3):
        total = np.zeros(3)
        for draw in range(70):
            part = draw // PART
            noise = noise_of(min(PART, 70 - part * PART), 11, int(rows[place]), part)[draw % PART]
            noisy = pixels(images)[place] + 0.25 * torch.from_numpy(noise)
            with torch.no_grad():
                total += as_stored(embedding(noisy[None]))[0].astype(np.float64)
        np.testing.assert_allclose(found[place], total / 70, rtol=0, atol=2e-4)


def test_means_of_images_without_draws_are_refused():
    def draws(*places):
        return iter([(place, 0, np.ones((2, 3))) for place in places])

    np.testing.assert_array_equal(smoothed_means(draws(1, 0, 1), 2), np.ones((2, 3)))
    with pytest.raises(InputError, match="1 of 3 images have no draws"):
        smoothed_means(draws(0, 2), 3)
    with pytest.raises(InputError, match="2 of 2 images have no draws"):
        smoothed_means(draws(), 2)


@pytest.mark.parametrize("change", [{"count": 0}, {"rows": np.arange(2)}, {"sigma": -0.1}, {"sigma": float("nan")}])
def test_noise_that_does_not_fit_is_refused(change):
    options = {"count": 3, "rows": np.arange(3), **NOISE, **change}
    with pytest.raises(InputError, match=r"noise: \d draws, [23] ids of 3 images, sigma") as caught:
        list(noisy_embeddings(exact(), pictures(3), **options))
    assert "\n" not in str(caught.value)


def test_transforms_are_fitted_on_a_noisy_copy_of_each_image():
    embedding, images, rows = exact(), pictures(9), np.arange(9) * 3
    done = []
    found = noisy_features(embedding, images, rows, on_batch=done.append, batch=4, **NOISE)
    assert sum(done) == 9
    for place, row in enumerate(rows.tolist()):
        noise = torch.from_numpy(noise_of(1, 11, row, 0))
        with torch.no_grad():
            expected = embedding.features(pixels(images)[place][None] + 0.25 * noise)
        np.testing.assert_allclose(found[place], expected[0], rtol=1e-5, atol=1e-6)


def test_memory_does_not_grow_with_the_number_of_draws():
    images, rows, sizes = pictures(1), np.arange(1), []

    def ask(noisy):
        sizes.append(len(noisy))
        return noisy.flatten(1).numpy().astype(np.float16)

    def peak(count):
        tracemalloc.start()
        smoothed_means(noisy_answers(ask, images, rows, count=count, batch=200, **NOISE), 1)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    peak(200)
    few, many = peak(1000), peak(20000)
    # As float16, so many draws would be 4.3 MB.
    assert many < few + 200_000
    assert max(sizes) == 200


# -- files, progress


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(7,), (6, 4), (5, 2, 3), (0, 3)])
def test_a_streamed_file_has_the_bytes_of_one_that_is_written_at_once(tmp_path, dtype, shape):
    array = (np.random.default_rng(1).standard_normal(shape) * 100).astype(dtype)
    about = {"sigma": 0.25, "draws": 3}
    write_array(tmp_path / "whole.npy", array, about)
    with stream_array(tmp_path / "streamed.npy", tuple(map(np.int64, shape)), dtype, about) as append:
        for start in range(0, len(array), 3):
            append(array[start : start + 3])
    assert (tmp_path / "streamed.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    found, facts = read_array(tmp_path / "streamed.npy")
    np.testing.assert_array_equal(found, array)
    assert facts == about


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([np.ones((2, 3))], "2 of 4 rows were written"),
        ([np.ones((5, 3))], "5 of 4 rows were written"),
        ([], "0 of 4 rows were written"),
        ([np.ones((4, 2))], r"a block has shape \(4, 2\), expected rows of \(3,\)"),
        ([np.ones(3)], r"a block has shape \(3,\), expected rows of \(3,\)"),
        ([np.full((4, 3), np.nan)], "refuses NaN or infinite values"),
        ([np.full((4, 3), 1e6)], "refuses NaN or infinite values"),
    ],
)
def test_a_stream_that_does_not_fit_leaves_nothing(tmp_path, blocks, message):
    def write():
        with np.errstate(over="ignore"), stream_array(tmp_path / "a.npy", (4, 3), np.float16) as append:
            for block in blocks:
                append(block)

    with pytest.raises(FileFault, match=message):
        write()
    assert not list(tmp_path.iterdir())


def test_an_error_while_streaming_keeps_the_old_file(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(3))
    before = (tmp_path / "a.npy").read_bytes()

    def write():
        with stream_array(tmp_path / "a.npy", (4, 3), np.float16) as append:
            append(np.ones((2, 3)))
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert (tmp_path / "a.npy").read_bytes() == before


def test_a_stream_holds_no_rows(tmp_path):
    block = np.ones((500, 200), dtype=np.float16)
    tracemalloc.start()
    with stream_array(tmp_path / "a.npy", (20_000, 200), np.float16) as append:
        for _ in range(40):
            append(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000


def test_counted_items_advance_progress_once_they_are_done_with():
    log = io.StringIO()
    with Progress("embed", 6, "draws", log) as progress:
        done = []
        for item in counted([[1], [2, 3], [4, 5, 6]], progress, len):
            done.append(progress.done)
            assert sum(done[-1:]) == sum(range(len(item)))
    assert done == [0, 1, 3]
    assert progress.done == 6
    with Progress("embed", None, "items", log) as progress:
        assert list(counted(iter("abc"), progress)) == ["a", "b", "c"]
    assert "embed: 6/6 draws" in log.getvalue()
    assert "embed: 3 items" in log.getvalue()
