"""Options that are chosen on validation images: which value is taken, and how a defence comes to it."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest
import torch

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.files import write_json
from nndefense.core.registry import make
from nndefense.defenses import DEFENSES
from nndefense.defenses.low_pass import LowPass
from nndefense.dictionaries.comparators import low_band
from nndefense.evaluation.context import read_context
from nndefense.evaluation.tuning import choose_value, clean_loss
from nndefense.flow.needs import NEEDS, TUNED
from tests.unit.attack_cases import Curved, draw_images


def answered(lost, won, same=0):
    """Whether answers are right with a defence and without, (n,) each: so many are lost, won, or right in both."""
    right = np.repeat([False, True, True], [lost, won, same])
    undefended = np.repeat([True, False, True], [lost, won, same])
    order = np.random.default_rng(0).permutation(len(right))
    return right[order], undefended[order]


@pytest.mark.parametrize(("lost", "won", "same"), [(10, 0, 190), (10, 4, 186), (3, 9, 28), (1, 0, 999), (5, 5, 0)])
def test_a_loss_is_that_of_the_same_images_and_at_most_its_upper_end(lost, won, same):
    n = lost + won + same
    mean, upper = clean_loss(*answered(lost, won, same))
    assert mean == pytest.approx((lost - won) / n, abs=1e-12)
    spread = (lost + won) / n - ((lost - won) / n) ** 2
    assert upper == pytest.approx(mean + NormalDist().inv_cdf(0.95) * (spread / n) ** 0.5, abs=1e-4)
    assert upper > mean


def test_where_no_answer_differs_nothing_is_lost():
    assert clean_loss(*answered(0, 0, 30)) == (0.0, 0.0)
    assert clean_loss(*answered(30, 0)) == (1.0, 1.0)
    wrong = np.zeros(30, dtype=bool)
    assert clean_loss(wrong, wrong) == (0.0, 0.0)


def test_a_loss_on_other_images_is_seldom_above_the_upper_end():
    """Of 2,000 sets of 200 images, of which 6 % are lost and 2 % won on average."""
    draw = np.random.default_rng(0).random((2000, 200))
    lost, won = draw < 0.06, draw > 0.98
    misses = [clean_loss(~one, ~other)[1] < 0.04 for one, other in zip(lost, won, strict=True)]
    assert np.mean(misses) == pytest.approx(0.05, abs=0.02)


def test_answers_to_other_images_are_refused():
    right, undefended = answered(3, 1, 6)
    for one, other in ((right[:5], undefended), (right[:0], undefended[:0])):
        with pytest.raises(InputError, match="needed: of the same images"):
            clean_loss(one, other)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.0, 0.02, 0.04, 0.20], (2, True)),
        ([0.0, 0.05, 0.10], (1, True)),
        ([-0.05, -0.09, -0.07], (2, True)),
        ([0.0], (0, True)),
        ([0.051], (0, False)),
        ([0.10, 0.06, 0.06], (0, False)),
        # Where the loss does not rise steadily, a value that costs too much does not rule out those after it.
        ([0.0, 0.10, 0.04, 0.06], (2, True)),
        ([0.10, 0.20, 0.05], (2, True)),
    ],
)
def test_the_last_value_that_costs_little_is_taken(losses, expected):
    assert choose_value(losses, 0.05) == expected


def test_an_allowed_loss_of_nothing_takes_what_costs_nothing():
    assert choose_value([0.0, 0.0, 0.01], 0.0) == (1, True)
    assert choose_value([0.8, 1.0], 1.0) == (1, True)


def test_no_values_are_refused():
    with pytest.raises(InputError, match="tuning needs one value at least"):
        choose_value([], 0.05)


# -- what a defence makes of a choice


def test_a_defence_is_bound_with_the_option_that_was_chosen():
    images, rows = draw_images(3, 13)[0], torch.arange(3)
    model = Curved(13).eval()
    given = LowPass(weight=0.1)
    bound = given.bind(model, {"tuned": {"weight": 2.0}})
    assert (given.weight, bound.defense.weight) == (0.1, 2.0)
    expected = model(low_band(images, 2.0)).softmax(dim=1)
    torch.testing.assert_close(bound.probabilities(images, rows=rows, seed=0), expected)
    for context in (None, {}, {"tuned": {}}):
        assert given.bind(model, context).defense == given


def test_a_choice_is_there_before_the_context_is_prepared():
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Watching(LowPass):
        def prepare(self, context):
            seen.append(self.weight)
            return {"made": self.weight}

    assert Watching(weight=0.1).bind(Curved().eval(), {"tuned": {"weight": 3.0}}).context["made"] == 3.0
    assert seen == [3.0]


def test_a_choice_that_is_out_of_range_is_named():
    with pytest.raises(ConfigError, match="weight is -1"):
        LowPass().bind(Curved().eval(), {"tuned": {"weight": -1.0}})


def test_the_chosen_option_is_read_from_what_tuning_wrote(tmp_path):
    path = tmp_path / "jpeg.json"
    about = {"values": [90, 60, 30], "accuracies": [0.9, 0.87, 0.6], "undefended": 0.9, "n": 200, "loss": 0.05}
    write_json(path, {"option": "quality", "value": 60, "within": True, **about})
    found = read_context([TUNED], [str(path)], {TUNED: NEEDS[TUNED].read}, {}, None)
    assert found == {"tuned": {"quality": 60}}
    bound = make("defense", DEFENSES, "jpeg", {"subsampling": "4:4:4"}).bind(Curved().eval(), found)
    assert (bound.defense.quality, bound.defense.subsampling) == (60, "4:4:4")
