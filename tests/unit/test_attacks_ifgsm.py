"""I-FGSM: steps that cannot leave the ball, then the whole budget."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.attacks.fgsm import FGSM
from nndefense.attacks.ifgsm import IFGSM
from nndefense.attacks.space import l2_norms
from tests.unit.attack_cases import SPACES, Curved, Linear, draw_images, make_problem, run

both_spaces = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@both_spaces
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 12), epsilon=st.sampled_from([1e-3, 0.06, 0.5, 2.0]))
def test_steps_never_leave_the_ball_or_the_box(space, seed, steps, epsilon):
    images, labels = draw_images(seed=seed)
    problem = make_problem(Curved(seed=seed).eval(), images, labels, epsilon=epsilon, space=space)
    z = IFGSM(steps=steps).walk(problem)
    assert (l2_norms(z.double() - problem.z.double()) <= problem.radius + 1e-5).all()
    assert ((z >= problem.low) & (z <= problem.high)).all()


@both_spaces
@pytest.mark.parametrize("steps", [1, 7])
def test_steps_of_a_linear_model_add_up_to_the_single_step(space, steps):
    images, _ = draw_images(low=0.4, high=0.6)
    labels = torch.zeros(4, dtype=torch.int64)
    model = Linear().eval()
    problem = make_problem(model, images, labels, epsilon=0.03, space=space)
    torch.testing.assert_close(
        l2_norms(IFGSM(steps=steps).walk(problem) - problem.z).double(), problem.radius, rtol=1e-4, atol=0
    )
    many = run(IFGSM(steps=steps), model, images, labels, epsilon=0.03, space=space)
    single = run(FGSM(), model, images, labels, epsilon=0.03, space=space)
    torch.testing.assert_close(many.images, single.images, rtol=0, atol=1e-6)


def test_the_whole_budget_is_spent_where_the_steps_turn():
    images, labels = draw_images(low=0.3, high=0.7)
    model = Curved(seed=3).eval()
    with torch.no_grad():
        model.first.mul_(20)
    problem = make_problem(model, images, labels)
    walked = l2_norms(IFGSM().walk(problem).double() - problem.z.double())
    assert (walked < 0.99 * problem.radius).any()
    result = run(IFGSM(), model, images, labels)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.1), rtol=1e-5, atol=0)
