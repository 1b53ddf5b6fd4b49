"""What holds for every defence in the registry, so that a new one is tested by being registered."""

import textwrap

import numpy as np
import pytest
import torch

from nndefense import defenses
from nndefense.defenses.base import row_generator
from nndefense.defenses.batches import defend_in_batches
from nndefense.defenses.patches import sample_patches
from nndefense.defenses.registry import make_defense
from nndefense.errors import ConfigError, InputError
from tests.unit.attack_cases import CLASSES, Curved, draw_images

SIZE = 13
# Options that make all of a defence random.
LIVELY = {"image_quilting": {"neighbors": 3}, "crop_ensemble": {"crops": 4}}
CASES = [(name, LIVELY.get(name, {})) for name in sorted(defenses.DEFENSES)]
CASES += [("crop_ensemble", {"crops": 4, "average": "logits"}), ("tv_minimization", {"shrinkage": "smooth"})]
every_defense = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=["-".join([name, *map(str, options.values())]) for name, options in CASES]
)
drawing_defense = pytest.mark.parametrize(
    ("name", "options"), [case for case in CASES if case[0] not in defenses.RETRAINED]
)


@pytest.fixture(scope="module")
def context():
    images = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
    return {"patches": sample_patches(images, 20)}


def defend(name, options, images, context, rows=None, seed=3):
    rows = torch.arange(len(images)) if rows is None else rows
    model = Curved(SIZE).eval()
    return make_defense(name, **options).probabilities(model, images, rows=rows, seed=seed, context=context)


@every_defense
def test_probabilities(name, options, context):
    images, _ = draw_images(5, SIZE)
    found = defend(name, options, images, context)
    assert found.dtype == torch.float32
    assert found.shape == (5, CLASSES)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5))
    assert not found.requires_grad
    undefended = Curved(SIZE)(images).softmax(dim=1)
    if name in defenses.RETRAINED:
        torch.testing.assert_close(found, undefended)
    else:
        assert (found - undefended).abs().max() > 1e-4


@every_defense
def test_twice_the_same_and_no_image_depends_on_the_batch(name, options, context):
    images, _ = draw_images(5, SIZE)
    whole = defend(name, options, images, context)
    assert torch.equal(defend(name, options, images, context), whole)
    for rows in (torch.tensor([4, 0]), torch.tensor([3, 1, 2]), torch.tensor([2])):
        assert torch.equal(defend(name, options, images[rows], context, rows), whole[rows])


@drawing_defense
def test_seed_and_row_choose_what_is_drawn(name, options, context):
    images, _ = draw_images(1, SIZE)
    images = images.expand(3, -1, -1, -1)
    found = defend(name, options, images, context)
    other = defend(name, options, images, context, seed=4)
    assert len({tuple(row.tolist()) for row in (*found, *other)}) == 6
    same = defend(name, options, images, context, rows=torch.tensor([1, 1, 2**40]))
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], found[1])


@every_defense
def test_the_model_sees_images_in_the_format_that_came_in(name, options, context):
    seen = []

    class Watching(Curved):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    model, defense = Watching(SIZE).eval(), make_defense(name, **options)
    images, _ = draw_images(2, SIZE)
    for form in (torch.contiguous_format, torch.channels_last):
        defense.probabilities(model, images.to(memory_format=form), rows=torch.arange(2), seed=0, context=context)
        assert all(shown.is_contiguous(memory_format=form) for shown in seen)
        assert all(shown.shape == images.shape and shown.min() >= 0 and shown.max() <= 1 for shown in seen)
        seen.clear()


@every_defense
def test_missing_context_is_named(name, options, context):
    images, _ = draw_images(2, SIZE)
    needed = make_defense(name, **options).needs
    defend(name, options, images, {key: context[key] for key in needed})
    for key in needed:
        with pytest.raises(InputError, match=f"needs context '{key}'"):
            defend(name, options, images, {other: context[other] for other in needed if other != key})


@every_defense
def test_batches_join_to_the_whole(name, options, context):
    images, _ = draw_images(7, SIZE)
    rows, told = np.arange(10, 17), []
    defense, model = make_defense(name, **options), Curved(SIZE).eval()
    found = defend_in_batches(
        defense, model, images.numpy(), rows, seed=1, batch=3, context=context, on_batch=told.append
    )
    whole = defense.probabilities(model, images, rows=torch.from_numpy(rows), seed=1, context=context)
    np.testing.assert_array_equal(found, whole.numpy())
    assert told == [3, 3, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 3, 8, 8, dtype=torch.float64)}, "float32"),
        ({"images": torch.full((2, 3, 8, 8), 1.5)}, "pixels in"),
        ({"images": torch.full((2, 3, 8, 8), float("nan"))}, "pixels in"),
        ({"rows": torch.arange(3)}, "2 integer rows"),
        ({"rows": torch.zeros(2)}, "2 integer rows"),
        ({"seed": -1}, "seed is -1"),
        ({"model": Curved(8).train()}, "training mode"),
    ],
)
def test_unusable_arguments_are_named(change, message):
    usable = {"model": Curved(8).eval(), "images": torch.zeros(2, 3, 8, 8), "rows": torch.arange(2), "seed": 0}
    arguments = usable | change
    with pytest.raises(InputError, match=message):
        make_defense("crop_ensemble").probabilities(arguments.pop("model"), arguments.pop("images"), **arguments)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("crop_ensemble", "crops", 0),
        ("crop_ensemble", "crops", 2.0),
        ("crop_ensemble", "crop_fraction", 0),
        ("crop_ensemble", "crop_fraction", 1.01),
        ("crop_ensemble", "average", "mean"),
        ("tv_minimization", "drop", 1),
        ("tv_minimization", "drop", -0.1),
        ("tv_minimization", "tv_weight", float("nan")),
        ("tv_minimization", "tv_weight", -1),
        ("tv_minimization", "iterations", 0),
        ("tv_minimization", "sweeps", True),
        ("tv_minimization", "tolerance", "small"),
        ("tv_minimization", "shrinkage", "isotropic"),
        ("image_quilting", "patch_size", 1),
        ("image_quilting", "overlap", 3),
        ("image_quilting", "overlap", 0),
        ("image_quilting", "neighbors", 0),
        ("image_quilting", "nprobe", 0),
    ],
)
def test_bad_options_are_named(name, option, value):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
        make_defense(name, **{option: value})


def test_unknown_names_are_told_what_there_is():
    with pytest.raises(ConfigError, match="defense 'blur' is unknown; allowed: crop_ensemble, ensemble"):
        make_defense("blur")
    with pytest.raises(ConfigError, match="'crop_ensemble' has no option 'size'; allowed: crops"):
        make_defense("crop_ensemble", size=3)


def test_streams_of_rows_differ_and_repeat():
    draws = [row_generator(seed, row).random(3).tolist() for seed, row in [(0, 0), (0, 1), (1, 0), (0, -1), (0, 0)]]
    assert len({tuple(draw) for draw in draws}) == 4
    assert draws[0] == draws[-1]


def test_a_new_defense_is_one_file_and_one_line(tmp_path, monkeypatch, context):
    (tmp_path / "my_defense.py").write_text(
        textwrap.dedent("""
            from dataclasses import dataclass
            from nndefense.defenses.base import Purifier

            @dataclass(frozen=True, kw_only=True)
            class Mirror(Purifier):
                axis: int = 3

                def transform(self, images, rows, seed, context):
                    return images.flip(self.axis)
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(defenses.DEFENSES, "mirror", "my_defense:Mirror")
    images, _ = draw_images(2, SIZE)
    expected = Curved(SIZE)(images.flip(2)).softmax(dim=1)
    assert torch.equal(defend("mirror", {"axis": 2}, images, context), expected)
