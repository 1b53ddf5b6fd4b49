"""What holds for every attack in the registry, so that a new one is tested by being registered."""

import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense import attacks
from nndefense.attacks.adaptive import Adaptive
from nndefense.axes.ball import BALLS, LINF, STANDARDIZED
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import read_options
from nndefense.core.registry import Entry
from tests.unit.attack_cases import (
    MEAN,
    STD,
    Curved,
    draw_images,
    make_attack,
    make_context,
    neighbors_of_trained,
    run,
    trained_net,
)

# Fewer steps where an attack's own number would make the tests slow.
LIGHT = {"cw": {"binary_search_steps": 2, "steps": 5}, "square": {"queries": 30}}
CASES = [(name, LIGHT.get(name, {})) for name in sorted(attacks.ATTACKS)]
CASES += [("pgd", {"direction": "l2"}), ("pgd_pr", {"form": "hard"}), ("pgd_pr", {"form": "literal"})]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in CASES]
every_attack = pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
PLACES = [
    pytest.param(name, options, BALLS[ball], id=f"{label}-{ball}")
    for (name, options), label in zip(CASES, IDS, strict=True)
    for ball in attacks.ATTACKS[name].balls
    if ball != "linf" or options.get("direction") != "l2"
]
everywhere = pytest.mark.parametrize(("name", "options", "ball"), PLACES)


# They stop at the first image that breaks the exact defence, so their loss is not the largest that could be had.
ADAPTIVE = [name for name in attacks.ATTACKS if issubclass(attacks.ATTACKS[name].load(), Adaptive)]
ASCENDING = [place for place in PLACES if place.values[0] not in ADAPTIVE]


class Blurred:
    """A defence bound to a network: it sees the images through the mean of some random shifts."""

    def __init__(self, model):
        self.model, self.calls = model, []

    random = False

    def softened(self, temperature):
        return self

    def embed(self, images, *, rows, seed, draws=1, memo=None):
        return self.surrogate(images, rows=rows, seed=seed).softmax(dim=1)

    def landmarks(self, classes):
        return torch.eye(classes), torch.arange(classes), 1

    def pictures(self, places):
        return None

    def probabilities(self, images, *, rows, seed):
        with torch.no_grad():
            return self.surrogate(images, rows=rows, seed=seed).softmax(dim=1)

    def surrogate(self, images, *, rows, seed, draws=1, memo=None):
        thawed = any(weight.requires_grad for weight in self.model.parameters())
        self.calls.append((tuple(rows.tolist()), seed, draws, thawed))
        shifts = torch.stack([torch.roll(images, int(row) % 3, dims=3)[place] for place, row in enumerate(rows)])
        return self.model((images + shifts) / 2)


def distance(ball, images, others):
    """The distance that a ball bounds, written apart from the library."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    z, z_other = images.double(), others.double()
    if ball.space == "standardized":
        z, z_other = (z - mean) / std, (z_other - mean) / std
    change = (z_other - z).flatten(1)
    if ball == LINF:
        return change.abs().amax(dim=1)
    return torch.where(change.any(dim=1), change.norm(dim=1) / z.flatten(1).norm(dim=1), 0.0)


@everywhere
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.sampled_from([1e-4, 0.02, 0.06, 0.3, 1.0, 20.0]),
    bounds=st.sampled_from([(0.0, 1.0), (0.0, 0.01), (0.99, 1.0), (0.4, 0.6), (0.0, 0.0), (1.0, 1.0)]),
    size=st.sampled_from([5, 6]),
)
def test_budget_and_box(name, options, ball, seed, epsilon, bounds, size):
    images, labels = draw_images(3, size, seed, *bounds)
    result = run(
        make_attack(name, **options),
        Curved(size, seed).eval(),
        images,
        labels,
        epsilon=epsilon,
        ball=ball,
        context=make_context(images, seed=seed),
    )
    assert (distance(ball, images, result.images) <= epsilon * (1 + 1e-5)).all()
    assert result.images.dtype == torch.float32
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    torch.testing.assert_close(result.delta, distance(ball, images, result.images), rtol=1e-9, atol=0)


@everywhere
def test_no_epsilon_gives_the_images_back_bit_exactly(name, options, ball):
    images, labels = draw_images()
    result = run(
        make_attack(name, **options),
        Curved().eval(),
        images,
        labels,
        epsilon=0,
        ball=ball,
        context=make_context(images),
    )
    assert torch.equal(result.images, images)
    assert torch.equal(result.loss_after, result.loss_before)
    assert not result.delta.any()


@everywhere
def test_twice_the_same_and_no_image_depends_on_the_batch(name, options, ball):
    images, labels = draw_images(batch=5)
    context, attack, model = make_context(images), make_attack(name, **options), Curved().eval()
    whole = run(attack, model, images, labels, ball=ball, context=context)
    assert torch.equal(run(attack, model, images, labels, ball=ball, context=context).images, whole.images)
    for rows in (torch.tensor([4, 0]), torch.tensor([3, 1, 2])):
        part = {key: value[rows] if torch.is_tensor(value) else value for key, value in context.items()}
        result = run(attack, model, images[rows], labels[rows], ball=ball, context=part, rows=rows)
        assert torch.equal(result.images, whole.images[rows])


@everywhere
def test_channels_last_is_kept_and_weights_are_left_as_they_were(name, options, ball):
    images, labels = draw_images()
    model, attack = Curved().eval(), make_attack(name, **options)
    more = {"ball": ball, "context": make_context(images)}
    plain = run(attack, model, images, labels, **more)
    last = run(attack, model, images.to(memory_format=torch.channels_last), labels, **more)
    assert last.images.is_contiguous(memory_format=torch.channels_last)
    # Hundreds of steps carry rounding on.
    torch.testing.assert_close(last.images, plain.images, rtol=0, atol=1e-3 if name in ADAPTIVE else 1e-5)
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(("name", "options", "ball"), ASCENDING)
def test_loss_rises(name, options, ball):
    net, images, labels = trained_net()
    attack = make_attack(name, **options)
    result = run(attack, net, images, labels, epsilon=0.1, ball=ball, context=neighbors_of_trained())
    assert result.loss_after.mean() > 1.5 * result.loss_before.mean()
    with torch.no_grad():
        after = torch.nn.functional.cross_entropy(net(result.images), labels, reduction="none")
    torch.testing.assert_close(result.loss_after, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options", "ball"), [place for place in PLACES if place.values[0] != "noise"])
def test_without_a_bound_accuracy_falls_to_chance(name, options, ball):
    net, images, labels = trained_net()
    more = {} if "steps" not in read_options(attacks.ATTACKS[name].target) or name == "cw" else {"steps": 40}
    attack = make_attack(name, **(options | more))
    # As far as from an image to black, or to the mean colour and as far again.
    epsilon = 2.0 if ball == STANDARDIZED else 1.0
    result = run(attack, net, images, labels, epsilon=epsilon, ball=ball, context=neighbors_of_trained())
    assert (net(result.images).argmax(1) == labels).float().mean() <= 1 / 3


@pytest.mark.parametrize("name", ["ifgsm", "pgd", "pgd_pr", "cw"])
def test_iterations_reach_the_loss_of_a_single_step(name):
    net, images, labels = trained_net()
    context = neighbors_of_trained()
    single = run(make_attack("fgsm"), net, images, labels, context=context)
    many = run(make_attack(name), net, images, labels, context=context)
    assert many.loss_after.mean() >= single.loss_after.mean()


@pytest.mark.parametrize(("name", "options", "ball"), ASCENDING)
def test_a_bound_defence_is_attacked_through_its_surrogate(name, options, ball):
    net, images, labels = trained_net()
    defense, attack, context = Blurred(net), make_attack(name, **options), neighbors_of_trained()
    rows = torch.arange(24) + 5
    result = run(attack, defense, images, labels, ball=ball, rows=rows, context=context)
    assert set(defense.calls) == {(tuple(rows.tolist()), 3, 1, False)}
    assert all(weight.requires_grad for weight in net.parameters())
    with torch.no_grad():
        after = torch.nn.functional.cross_entropy(
            defense.surrogate(result.images, rows=rows, seed=3), labels, reduction="none"
        )
    torch.testing.assert_close(result.loss_after, after, rtol=1e-4, atol=1e-5)
    assert result.loss_after.mean() > 1.2 * result.loss_before.mean()
    # What is found for the network does the defence less harm. PGD-FS looks at neither.
    if name != "pgd_fs":
        transferred = run(attack, net, images, labels, ball=ball, rows=rows, context=context).images
        with torch.no_grad():
            other = torch.nn.functional.cross_entropy(defense.surrogate(transferred, rows=rows, seed=3), labels)
        assert result.loss_after.mean() > other


def test_a_bound_defence_in_training_mode_is_refused():
    images, labels = draw_images()
    with pytest.raises(InputError, match="eval mode"):
        run(make_attack("fgsm"), Blurred(Curved()), images, labels)


@pytest.mark.parametrize("name", ["cw", "pgd_fs", "pgd_pr"])
def test_attacks_without_a_form_in_the_cube_say_so(name):
    images, labels = draw_images()
    with pytest.raises(ConfigError, match=r"has no form in ball linf; allowed: raw01, standardized"):
        run(make_attack(name), Curved().eval(), images, labels, ball=LINF, context=make_context(images))


@pytest.mark.parametrize(
    ("name", "options", "needed"),
    [
        ("pgd_fs", {}, ["encode", "neighbor_codes"]),
        ("pgd_pr", {}, ["neighbor_softmax"]),
        ("pgd_pr", {"form": "hard"}, ["neighbor_softmax"]),
        ("pgd_pr", {"form": "literal"}, ["neighbor_images"]),
        ("pgd_pr", {"form": "literal", "gamma": 0.0}, []),
        ("pgd", {}, []),
    ],
)
def test_missing_context_is_named(name, options, needed):
    images, labels = draw_images()
    attack, context = make_attack(name, **options), make_context(images)
    only = {key: context[key] for key in needed}
    run(attack, Curved().eval(), images, labels, context=only)
    for key in needed:
        with pytest.raises(InputError, match=f"needs context '{key}'"):
            run(attack, Curved().eval(), images, labels, context={k: v for k, v in only.items() if k != key})


@pytest.mark.parametrize("name", ["fgsm", "ifgsm", "cw"])
def test_attacks_without_randomness_have_no_restarts(name):
    with pytest.raises(ConfigError, match="has no option 'restarts'"):
        make_attack(name, restarts=2)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("ifgsm", "steps", 0),
        ("cw", "steps", 0),
        ("cw", "binary_search_steps", 1.5),
        ("cw", "learning_rate", 0),
        ("cw", "initial_constant", -1),
        ("cw", "confidence", -0.5),
        ("pgd_pr", "form", "firm"),
        ("pgd_pr", "gamma", float("nan")),
        ("pgd_pr", "gamma", True),
        ("pgd_fs", "steps", -1),
    ],
)
def test_bad_options_are_named(name, option, value):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
        make_attack(name, **{option: value})


def test_a_new_attack_is_one_file_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "my_attack.py").write_text(
        textwrap.dedent("""
            from dataclasses import dataclass

            import torch

            from nndefense.attacks.base import Attack

            @dataclass(frozen=True, kw_only=True)
            class Brighter(Attack):
                by: float = 1.0

                def perturb(self, problem, restart):
                    return problem.region.spend(self.by * torch.ones_like(problem.region.center))
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(attacks.ATTACKS, "brighter", Entry("my_attack:Brighter", "Brighter"))
    images, labels = draw_images(high=0.5)
    for ball in BALLS.values():
        result = run(make_attack("brighter", by=2.0), Curved().eval(), images, labels, epsilon=0.1, ball=ball)
        torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.1), rtol=1e-5, atol=0)
        assert (result.images > images).all()
