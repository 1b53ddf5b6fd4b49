"""What holds for every defence in the registry, so that a new one is tested by being registered."""

import textwrap

import numpy as np
import pytest
import torch

from nndefense.attacks.base import value_and_gradient
from nndefense.core import devices
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.registry import Entry, make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.defenses.base import Purifier
from nndefense.defenses.batches import answers_in_batches
from nndefense.defenses.none import NoDefense
from nndefense.defenses.patches import sample_patches
from nndefense.models.computing import Computing
from nndefense.models.standardize import Standardized
from tests.unit.attack_cases import CLASSES, Curved, draw_images
from tests.unit.srd_cases import CLUSTERS, srd_context

SIZE = 13
# Those that need a database, or a network with one, have tests of their own.
NAMES = sorted(name for name, entry in DEFENSES.items() if "retrieval" not in entry.needs and name != "racnn")
# Options that make all of a defence random.
LIVELY = {"image_quilting": {"neighbors": 3}, "crop_ensemble": {"crops": 4}}
CASES = [(name, LIVELY.get(name, {})) for name in NAMES]
CASES += [("crop_ensemble", {"crops": 4, "average": "logits"}), ("tv_minimization", {"shrinkage": "smooth"})]
CASES += [("srd", {"choice": choice}) for choice in ("oracle", "random", "whole")]
# Of defences whose transforms may be computed in another order in another batch.
ROUNDING = {"low_pass": 1e-5, "srd": 1e-5}
# What defences call the parts of a need that is not one value of its own name.
KEYS = {"answers": (), "dictionaries": ("filters", "low_pass", "means", "deviations", "chooser")}
every_defense = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=["-".join([name, *map(str, options.values())]) for name, options in CASES]
)


def make_defense(name, **options):
    return make("defense", DEFENSES, name, options)


PURIFYING = [(name, options) for name, options in CASES if isinstance(make_defense(name, **options), Purifier)]
purifier = pytest.mark.parametrize(("name", "options"), PURIFYING)
DRAWING = [(name, options) for name, options in CASES if make_defense(name, **options).random]
drawing_defense = pytest.mark.parametrize(("name", "options"), DRAWING)
# Few draws can differ where they are of a few clusters.
freely_drawing_defense = pytest.mark.parametrize(("name", "options"), [case for case in DRAWING if case[0] != "srd"])


@pytest.fixture(scope="module")
def context():
    images = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
    oracle = {row: row % CLUSTERS for row in range(20)}
    return {"patches": sample_patches(images, 20), **srd_context(oracle=oracle)}


def defend(name, options, images, context, rows=None, seed=3):
    rows = torch.arange(len(images)) if rows is None else rows
    return bind(name, options, context).probabilities(images, rows=rows, seed=seed)


def bind(name, options, context, model=None):
    return make_defense(name, **options).bind(model or Curved(SIZE).eval(), context)


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
    if isinstance(make_defense(name, **options), NoDefense):
        torch.testing.assert_close(found, undefended)
    else:
        assert (found - undefended).abs().max() > 1e-4


@every_defense
def test_twice_the_same_and_no_image_depends_on_the_batch(name, options, context):
    images, _ = draw_images(5, SIZE)
    whole = defend(name, options, images, context)
    assert torch.equal(defend(name, options, images, context), whole)
    for rows in (torch.tensor([4, 0]), torch.tensor([3, 1, 2]), torch.tensor([2])):
        found = defend(name, options, images[rows], context, rows)
        torch.testing.assert_close(found, whole[rows], atol=ROUNDING.get(name, 0), rtol=0)


@freely_drawing_defense
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

    bound = bind(name, options, context, Watching(SIZE).eval())
    images, _ = draw_images(2, SIZE)
    for form in (torch.contiguous_format, torch.channels_last):
        bound.probabilities(images.to(memory_format=form), rows=torch.arange(2), seed=0)
        assert all(shown.is_contiguous(memory_format=form) for shown in seen)
        assert all(shown.shape == images.shape and shown.min() >= 0 and shown.max() <= 1 for shown in seen)
        seen.clear()


def asking(inside):
    class Noting(torch.nn.Module):
        def forward(self, images):
            inside.append(torch.is_autocast_enabled("cpu"))
            return images

    return Noting()


@every_defense
def test_gradients_may_be_of_a_lower_precision_and_answers_are_not(name, options, context, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    lowered, inside = [], []

    class Watching(Curved):
        def forward(self, images):
            lowered.append(torch.is_autocast_enabled("cpu"))
            return super().forward(images)

    bound = bind(name, options, context, Standardized(Watching(SIZE), (0, 0, 0), (1, 1, 1)).eval())
    if transform := getattr(type(bound.defense), "transform", None):

        def watching(*arguments):
            # What a transform asks networks, such as whose dictionary an image gets, decides the answer.
            Standardized(asking(inside), (0, 0, 0), (1, 1, 1))(torch.zeros(1, 3, SIZE, SIZE))
            return transform(*arguments)

        monkeypatch.setattr(type(bound.defense), "transform", watching)
    images, _ = draw_images(2, SIZE)
    bound.probabilities(images, rows=torch.arange(2), seed=0)
    assert lowered
    assert not any(lowered)
    lowered.clear()
    # Other images: what was made of these is kept.
    value_and_gradient(
        lambda shown: bound.surrogate(shown, rows=torch.arange(2), seed=0)[:, 0], images.flip(3), Computing("bf16")
    )
    assert lowered
    assert all(lowered)
    assert not any(inside)


@purifier
def test_what_was_purified_is_kept_for_when_it_is_shown_again(name, options, context, monkeypatch):
    bound = bind(name, options, context)
    images, rows = draw_images(6, SIZE)[0], torch.arange(6)
    expected = bind(name, options, context).probabilities(images[1:5], rows=rows[1:5], seed=3)
    shown, transform = [], type(bound.defense).transform

    def watching(self, images, rows, *others):
        shown.append(rows.tolist())
        return transform(self, images, rows, *others)

    monkeypatch.setattr(type(bound.defense), "transform", watching)
    bound.probabilities(images[:3], rows=rows[:3], seed=3)
    found = bound.probabilities(images[1:5], rows=rows[1:5], seed=3)
    torch.testing.assert_close(found, expected, atol=ROUNDING.get(name, 0), rtol=0)
    assert shown == [[0, 1, 2], [3, 4]]
    # Another image of the same row, another row, and what another seed draws.
    other = images.clone()
    other[0, 0, 0, 0] = torch.nextafter(other[0, 0, 0, 0], torch.tensor(0.5))
    bound.probabilities(other[:1], rows=rows[:1], seed=3)
    bound.probabilities(images[:1], rows=rows[1:2], seed=3)
    bound.probabilities(images[:1], rows=rows[:1], seed=4)
    assert shown[2:4] == [[0], [1]]
    assert shown[4:] == ([[0]] if bound.random else [])


@every_defense
def test_what_a_defense_needs_is_declared_and_missed(name, options, context):
    # Answers that are known already spare the workflow a job; no defence asks for them.
    needed = [key for need in DEFENSES[name].needs for key in KEYS.get(need, (need,))]
    if options.get("choice") != "oracle" and "oracle" in needed:
        needed.remove("oracle")
    bind(name, options, {key: context[key] for key in needed})
    for key in needed:
        others = [other for other in needed if other != key]
        with pytest.raises(InputError, match=f"needs context '{key}'; got: {', '.join(others) or 'nothing'}$"):
            bind(name, options, {other: context[other] for other in others})


@every_defense
def test_batches_join_to_the_whole(name, options, context):
    images, _ = draw_images(7, SIZE)
    rows, told = np.arange(10, 17), []
    bound = bind(name, options, context)
    found = answers_in_batches(bound, images.numpy(), rows, seed=1, batch=3, on_batch=told.append)
    whole = bound.probabilities(images, rows=torch.from_numpy(rows), seed=1)
    np.testing.assert_allclose(found, whole.numpy(), atol=ROUNDING.get(name, 0), rtol=0)
    assert told == [3, 3, 1]


# -- what an attacker differentiates


@every_defense
def test_the_surrogate_has_the_value_of_the_defense(name, options, context):
    images, _ = draw_images(5, SIZE)
    rows, bound = torch.arange(5), bind(name, options, context)
    found = bound.surrogate(images.requires_grad_(), rows=rows, seed=3).softmax(dim=1)
    seed = derive_seed(3, "draw", 0) if bound.defense.random else 3
    torch.testing.assert_close(found, bound.probabilities(images, rows=rows, seed=seed))
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), images)
    assert gradient.shape == images.shape
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


@drawing_defense
def test_the_surrogate_averages_probabilities_over_draws_that_are_never_the_deployed_ones(name, options, context):
    images, _ = draw_images(3, SIZE)
    rows, bound = torch.arange(3), bind(name, options, context)
    found = bound.surrogate(images, rows=rows, seed=3, draws=4).exp()
    singles = [bound.probabilities(images, rows=rows, seed=derive_seed(3, "draw", one)) for one in range(4)]
    torch.testing.assert_close(found, torch.stack(singles).mean(dim=0))
    deployed = bound.probabilities(images, rows=rows, seed=3)
    assert all((one - deployed).abs().max() > 0 for one in singles)


def test_draws_do_nothing_without_randomness(context):
    images, _ = draw_images(3, SIZE)
    model = Curved(SIZE).eval()
    assert torch.equal(
        bind("none", {}, {}, model).surrogate(images, rows=torch.arange(3), seed=0, draws=9), model(images)
    )
    for name, options in (
        ("image_quilting", {}),
        ("tv_minimization", {"drop": 0}),
        ("crop_ensemble", {"crop_fraction": 1}),
    ):
        assert not make_defense(name, **options).random
    with pytest.raises(InputError, match="draws is 0"):
        bind("none", {}, {}).surrogate(images, rows=torch.arange(3), seed=0, draws=0)


def test_gradients_of_crops_are_those_of_finite_differences():
    images, _ = draw_images(1, 6)
    bound = make_defense("crop_ensemble", crops=3, crop_fraction=0.5).bind(Curved(6).eval())

    def value(shown):
        return bound.surrogate(shown, rows=torch.arange(1), seed=0)[0, 1]

    images = (images * 0.8 + 0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(value(images), images)
    with torch.no_grad():
        for place in [(0, 0, 1, 2), (0, 1, 3, 3), (0, 2, 4, 1)]:
            step = torch.zeros_like(images)
            step[place] = 1e-2
            slope = (value(images + step) - value(images - step)) / 2e-2
            assert slope.item() == pytest.approx(gradient[place].item(), abs=2e-4)


@pytest.mark.parametrize("name", ["tv_minimization", "image_quilting", "jpeg", "median_filter", "srd"])
def test_purifiers_are_differentiated_straight_through(name, context):
    images, _ = draw_images(2, SIZE)
    model, rows = Curved(SIZE).eval(), torch.arange(2)
    bound = make_defense(name).bind(model, context)
    seed = derive_seed(4, "draw", 0) if bound.defense.random else 4
    purified = bound.defense.transform(images, rows, seed, bound.context)
    images.requires_grad_()
    (found,) = torch.autograd.grad(bound.surrogate(images, rows=rows, seed=4).log_softmax(1)[:, 2].sum(), images)
    purified.requires_grad_()
    (expected,) = torch.autograd.grad(model(purified).log_softmax(1)[:, 2].sum(), purified)
    torch.testing.assert_close(found, expected)


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
    bound = make_defense("crop_ensemble").bind(arguments.pop("model"))
    for answer in (bound.probabilities, bound.surrogate):
        with pytest.raises(InputError, match=message):
            answer(**arguments)


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
        ("image_quilting", "overlap", 3),
        ("image_quilting", "overlap", 0),
        ("image_quilting", "neighbors", 0),
        ("image_quilting", "nprobe", 0),
        ("srd", "choice", "best"),
        ("srd", "distance", "cosine"),
        ("srd", "sparsity", 0.0),
        ("srd", "iterations", 0),
        ("srd", "tolerance", -0.1),
        ("srd", "unrolled", 2.5),
    ],
)
def test_bad_options_are_named(name, option, value):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
        make_defense(name, **{option: value})


def test_unknown_names_are_told_what_there_is():
    with pytest.raises(ConfigError, match="defense 'blur' is unknown; allowed: cluster_training, crop_ensemble"):
        make_defense("blur")
    with pytest.raises(ConfigError, match="'crop_ensemble' has no option 'size'; allowed: crops"):
        make_defense("crop_ensemble", size=3)


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
    monkeypatch.setitem(DEFENSES, "mirror", Entry("my_defense:Mirror", "Mirror"))
    images, _ = draw_images(2, SIZE)
    expected = Curved(SIZE)(images.flip(2)).softmax(dim=1)
    assert torch.equal(defend("mirror", {"axis": 2}, images, context), expected)
