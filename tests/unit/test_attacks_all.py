"""What holds for every attack in the registry, so that a new one is tested by being registered."""

import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense import attacks
from nndefense.attacks.registry import make_attack
from nndefense.errors import ConfigError, InputError
from tests.unit.attack_cases import (
    SPACES,
    Curved,
    draw_images,
    make_context,
    neighbors_of_trained,
    run,
    trained_net,
)

# Fewer steps where an attack's own number would make the tests slow.
LIGHT = {"cw": {"binary_search_steps": 2, "steps": 5}}
CASES = [(name, LIGHT.get(name, {})) for name in sorted(attacks.ATTACKS)]
CASES += [("pgd", {"direction": "l2"}), ("pgd_pr", {"form": "hard"}), ("pgd_pr", {"form": "literal"})]
every_attack = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=["-".join([name, *map(str, options.values())]) for name, options in CASES]
)
both_spaces = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@every_attack
@both_spaces
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000),
    epsilon=st.sampled_from([1e-4, 0.02, 0.06, 0.3, 1.0, 20.0]),
    bounds=st.sampled_from([(0.0, 1.0), (0.0, 0.01), (0.99, 1.0), (0.4, 0.6), (0.0, 0.0), (1.0, 1.0)]),
    size=st.sampled_from([5, 6]),
)
def test_budget_and_box(name, options, space, seed, epsilon, bounds, size):
    images, labels = draw_images(3, size, seed, *bounds)
    result = run(
        make_attack(name, **options),
        Curved(size, seed).eval(),
        images,
        labels,
        epsilon=epsilon,
        space=space,
        context=make_context(images, seed=seed),
    )
    assert (space.delta(images, result.images) <= epsilon * (1 + 1e-5)).all()
    assert result.images.dtype == torch.float32
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert torch.equal(result.delta, space.delta(images, result.images))


@every_attack
@both_spaces
def test_no_epsilon_gives_the_images_back_bit_exactly(name, options, space):
    images, labels = draw_images()
    result = run(
        make_attack(name, **options),
        Curved().eval(),
        images,
        labels,
        epsilon=0,
        space=space,
        context=make_context(images),
    )
    assert torch.equal(result.images, images)
    assert torch.equal(result.loss_after, result.loss_before)
    assert not result.delta.any()


@every_attack
def test_twice_the_same_and_no_image_depends_on_the_batch(name, options):
    images, labels = draw_images(batch=5)
    context, attack, model = make_context(images), make_attack(name, **options), Curved().eval()
    whole = run(attack, model, images, labels, context=context)
    assert torch.equal(run(attack, model, images, labels, context=context).images, whole.images)
    for rows in (torch.tensor([4, 0]), torch.tensor([3, 1, 2])):
        part = {key: value if callable(value) else value[rows] for key, value in context.items()}
        result = run(attack, model, images[rows], labels[rows], context=part, rows=rows)
        assert torch.equal(result.images, whole.images[rows])


@every_attack
def test_channels_last_is_kept_and_weights_are_left_as_they_were(name, options):
    images, labels = draw_images()
    model = Curved().eval()
    context = make_context(images)
    plain = run(make_attack(name, **options), model, images, labels, context=context)
    last = run(
        make_attack(name, **options), model, images.to(memory_format=torch.channels_last), labels, context=context
    )
    assert last.images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last.images, plain.images)
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


@every_attack
def test_loss_rises(name, options):
    net, images, labels = trained_net()
    attack = make_attack(name, **options)
    result = run(attack, net, images, labels, epsilon=0.1, context=neighbors_of_trained())
    assert result.loss_after.mean() > 1.5 * result.loss_before.mean()
    with torch.no_grad():
        after = torch.nn.functional.cross_entropy(net(result.images), labels, reduction="none")
    torch.testing.assert_close(result.loss_after, after, rtol=1e-4, atol=1e-5)


@every_attack
def test_without_a_bound_accuracy_falls_to_chance(name, options):
    net, images, labels = trained_net()
    attack = make_attack(name, **(options | ({} if name in ("fgsm", "cw") else {"steps": 40})))
    result = run(attack, net, images, labels, epsilon=1.0, context=neighbors_of_trained())
    assert (net(result.images).argmax(1) == labels).float().mean() <= 1 / 3


@pytest.mark.parametrize("name", ["ifgsm", "pgd", "pgd_pr", "cw"])
def test_iterations_reach_the_loss_of_a_single_step(name):
    net, images, labels = trained_net()
    context = neighbors_of_trained()
    single = run(make_attack("fgsm"), net, images, labels, context=context)
    many = run(make_attack(name), net, images, labels, context=context)
    assert many.loss_after.mean() >= single.loss_after.mean()


@every_attack
def test_missing_context_is_named(name, options):
    images, labels = draw_images()
    attack, context = make_attack(name, **options), make_context(images)
    only = {key: context[key] for key in attack.needs}
    run(attack, Curved().eval(), images, labels, context=only)
    for key in attack.needs:
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
            from nndefense.attacks.base import Attack
            from nndefense.attacks.budget import scale_to_budget

            @dataclass(frozen=True, kw_only=True)
            class Brighter(Attack):
                by: float = 1.0

                def perturb(self, problem, restart):
                    direction = self.by * problem.z.new_ones(problem.z.shape)
                    return scale_to_budget(problem.z, direction, problem.radius, problem.low, problem.high)
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(attacks.ATTACKS, "brighter", "my_attack:Brighter")
    images, labels = draw_images(high=0.5)
    result = run(make_attack("brighter", by=2.0), Curved().eval(), images, labels, epsilon=0.1)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.1), rtol=1e-5, atol=0)
    assert (result.images > images).all()
