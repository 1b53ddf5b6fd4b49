"""What was computed of images is kept by their bytes, and no more of it than there is room for."""

import pytest
import torch

from nndefense.defenses.kept import Kept


def images(*values):
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, 2, 2).contiguous()


@pytest.fixture
def asked():
    return []


@pytest.fixture
def double(asked):
    def compute(shown, rows):
        asked.append(shown[:, 0, 0, 0].tolist())
        return 2 * shown + rows[:, None, None, None]

    return compute


def values(found):
    return found[:, 0, 0, 0].tolist()


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def test_only_what_is_unknown_is_computed(asked, double):
    kept = Kept()
    assert values(kept.of(double, images(1.0, 2.0), rows(0, 0), None)) == [2.0, 4.0]
    assert values(kept.of(double, images(3.0, 2.0, 1.0), rows(0, 0, 7), None)) == [6.0, 4.0, 9.0]
    assert values(kept.of(double, images(2.0, 3.0), rows(0, 0), None)) == [4.0, 6.0]
    assert values(kept.of(double, images(2.0), rows(0), 5)) == [4.0]
    assert asked == [[1.0, 2.0], [3.0, 1.0], [2.0]]


def test_memory_format_is_no_part_of_an_image(asked, double):
    kept, shown = Kept(), torch.rand(2, 3, 4, 4)
    expected = kept.of(double, shown, rows(0, 1), None)
    found = kept.of(double, shown.to(memory_format=torch.channels_last), rows(0, 1), None)
    assert torch.equal(found, expected)
    assert len(asked) == 1


def test_images_of_another_size_are_others(double):
    kept = Kept()
    for shape in ((1, 3, 2, 8), (1, 3, 4, 4), (1, 3, 8, 2)):
        assert kept.of(double, torch.zeros(shape), rows(0), None).shape == shape


def test_what_was_not_asked_for_longest_makes_room(asked, double):
    each = images(1.0).nbytes
    kept = Kept(limit=3 * each)
    for value in (1.0, 2.0, 3.0, 1.0, 4.0):
        kept.of(double, images(value), rows(0), None)
    assert kept.size == 3 * each
    kept.of(double, images(1.0, 3.0, 4.0, 2.0), rows(0, 0, 0, 0), None)
    assert asked == [[1.0], [2.0], [3.0], [4.0], [2.0]]
    assert kept.size == 3 * each


def test_a_batch_that_has_no_room_is_answered_whole(asked, double):
    kept = Kept(limit=1)
    for _ in range(2):
        assert values(kept.of(double, images(1.0, 2.0, 1.0), rows(0, 0, 0), None)) == [2.0, 4.0, 2.0]
    assert kept.size == 0
    assert len(asked) == 2


def test_no_images_are_no_answers(double):
    assert Kept().of(double, torch.empty(0, 3, 2, 2), rows(), None).shape == (0, 3, 2, 2)


def test_what_is_kept_is_nobody_elses(double):
    kept = Kept()
    kept.of(double, images(1.0), rows(0), None).zero_()
    assert values(kept.of(double, images(1.0), rows(0), None)) == [2.0]
