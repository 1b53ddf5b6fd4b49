"""Training, prediction, and batches that shrink when memory runs out."""

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.augment import random_crops
from nndefense.models.batching import in_batches, is_out_of_memory
from nndefense.models.build import build_model
from nndefense.models.objective import CrossEntropy
from nndefense.models.predict import predict_softmax, to_tensor
from nndefense.models.train import schedule, train

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SETTINGS = {"epochs": 2, "batch": 16, "learning_rate": 0.1, "weight_decay": 1e-4, "seed": 5, "threads": 1}


def _stripes(count, side=16, seed=0):
    """Noisy horizontal (0) and vertical (1) stripes: flips and shifts keep the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    wave = (np.arange(side) // 2 % 2) * 120 + 60
    images = np.where(labels[:, None, None] == 0, wave[:, None], wave[None, :])
    images = np.repeat(images[..., None], 3, axis=-1) + rng.integers(-40, 40, (count, side, side, 3))
    return images.astype(np.uint8), labels


def test_training_learns_and_leaves_the_model_in_eval_mode():
    images, labels = _stripes(96)
    model = build_model("cifar_resnet8", 2, MEAN, STD)
    history = train(model, images, labels, **SETTINGS | {"epochs": 5})
    assert not model.training
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0.1 > history[-2]["learning_rate"] > history[-1]["learning_rate"] > 0
    test_images, test_labels = _stripes(64, seed=9)
    accuracy = (predict_softmax(model, test_images, 32).argmax(1) == test_labels).mean()
    assert accuracy > 0.9


def test_training_is_bit_for_bit_repeatable():
    images, labels = _stripes(48)
    states = []
    for seed in (5, 5, 6):
        model = build_model("cifar_resnet8", 2, MEAN, STD)
        train(model, images, labels, **SETTINGS | {"seed": seed})
        states.append(model.state_dict())
        torch.rand(3)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["net.conv1.weight"], states[2]["net.conv1.weight"])


def test_progress_is_reported_and_threads_are_restored():
    images, labels = _stripes(40)
    calls = []
    threads = torch.get_num_threads()
    model = build_model("cifar_resnet8", 2, MEAN, STD)
    settings = SETTINGS | {"augment": False, "report_every": 3}
    train(model, images, labels, **settings, on_step=lambda *call: calls.append(call))
    assert [call[:3] for call in calls] == [(2, 3, 4), (2, 4, 4)]
    assert all(np.isfinite(call[3]) for call in calls)
    assert torch.get_num_threads() == threads


def test_objective_gets_the_rows_behind_the_inputs_and_every_step():
    images, labels = _stripes(40)
    seen = []

    def objective(model, batch):
        assert model.training
        expected = torch.from_numpy(images[batch.rows]).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(batch.inputs, expected)
        assert batch.targets.tolist() == labels[batch.rows].tolist()
        seen.append((batch.step, *batch.rows))
        return CrossEntropy()(model, batch)

    model = build_model("cifar_resnet8", 2, MEAN, STD)
    train(model, images, labels, **SETTINGS, augment=False, objective=objective)
    assert [step for step, *_ in seen] == [0, 1, 2, 3]
    for epoch in (seen[:2], seen[2:]):
        rows = [row for _, *rows in epoch for row in rows]
        assert len(set(rows)) == len(rows) == 32


def test_only_the_chosen_parameters_are_trained():
    images, labels = _stripes(32)
    model = build_model("cifar_resnet8", 2, MEAN, STD)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    chosen = list(model.net.linear.parameters())
    train(model, images, labels, **SETTINGS, parameters=chosen)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"net.linear.weight", "net.linear.bias"}
    assert {name for name, value in model.named_parameters() if value.requires_grad} == changed
    for wrong in ([], [nn.Parameter(torch.zeros(2))]):
        with pytest.raises(InputError, match="parameters to train"):
            train(model, images, labels, **SETTINGS, parameters=wrong)


def test_label_smoothing_raises_the_loss_of_a_certain_model():
    class Certain(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([10.0, 0.0]))

        def forward(self, x):
            return self.logits.expand(len(x), 2)

    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int64)
    settings = SETTINGS | {"epochs": 1, "learning_rate": 1e-9}
    plain = train(Certain(), images, labels, **settings)[0]
    smooth = train(Certain(), images, labels, **settings, objective=CrossEntropy(label_smoothing=0.2))[0]
    # Share .2/2 of the weight moves to the class whose log-probability is about -10.
    assert smooth["loss"] - plain["loss"] == pytest.approx(0.1 * 10, abs=1e-3)
    assert plain["accuracy"] == 1


def test_schedule_rises_then_falls_to_nearly_zero():
    rates = [schedule(step, 100, 0.2) for step in range(100)]
    assert max(rates) == pytest.approx(1)
    assert int(np.argmax(rates)) in (19, 20)
    assert np.all(np.diff(rates[:20]) > 0)
    assert np.all(np.diff(rates[20:]) < 0)
    assert 0 < rates[-1] < 0.01
    assert schedule(0, 1, 0.0) == 1


def test_random_crops_are_shifted_and_flipped_copies():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (64, 6, 5, 3), dtype=torch.uint8)
    crops = random_crops(images, generator, flip=True, padding=2)
    padded = nn.functional.pad(images, (0, 0, 2, 2, 2, 2))
    seen = set()
    for image, crop in zip(padded, crops, strict=True):
        matches = [
            (y, x, flipped)
            for y in range(5)
            for x in range(5)
            for flipped in (False, True)
            if torch.equal(crop, image[y : y + 6, x : x + 5].flip(1) if flipped else image[y : y + 6, x : x + 5])
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))
    assert {flipped for _, _, flipped in seen} == {False, True}


def test_digits_are_not_flipped():
    images = torch.arange(1, 13, dtype=torch.uint8).view(1, 2, 2, 3).repeat(32, 1, 1, 1)
    crops = random_crops(images, torch.Generator().manual_seed(0), flip=False, padding=0)
    assert torch.equal(crops, images)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": np.zeros((4, 3, 8, 8), np.float32)}, InputError, "uint8"),
        ({"labels": np.zeros(3, np.int64)}, InputError, "4 integers"),
        ({"labels": np.full(4, -1)}, InputError, "from 0"),
        ({"labels": np.full(4, 2)}, InputError, "label 2.*2 classes"),
        ({"epochs": 0}, ConfigError, "epochs 0"),
        ({"learning_rate": 0.0}, ConfigError, "learning_rate 0"),
        ({"learning_rate": 1e30}, ConfigError, "diverged"),
    ],
)
def test_bad_training_input_gives_one_line(change, error, message):
    arguments = {"images": np.ones((4, 8, 8, 3), np.uint8), "labels": np.zeros(4, np.int64)} | SETTINGS | change
    model = build_model("cifar_resnet8", 2, MEAN, STD)
    with pytest.raises(error, match=message):
        train(model, **arguments)
    assert not model.training


def test_to_tensor_reads_memory_maps_and_keeps_every_level():
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images.flags.writeable = False
    tensor = to_tensor(images)
    assert tensor.shape == (1, 3, 16, 16)
    assert torch.equal((tensor * 255).round().byte()[0, 1].flatten(), torch.arange(256, dtype=torch.uint8))
    assert tensor.min() == 0
    assert tensor.max() == 1


def test_predict_softmax_is_independent_of_batches_and_of_the_input_form():
    model = build_model("cifar_resnet8", 4, MEAN, STD)
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    whole = predict_softmax(model, images, 10)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(predict_softmax(model, images, 3), whole, atol=1e-6)
    floats = to_tensor(images)
    np.testing.assert_allclose(predict_softmax(model, floats, 4), whole, atol=1e-6)
    np.testing.assert_allclose(predict_softmax(model, floats.numpy(), 4), whole, atol=1e-6)


def test_predict_refuses_training_mode_and_wrong_shapes():
    model = build_model("cifar_resnet8", 4, MEAN, STD)
    with pytest.raises(InputError, match="uint8"):
        predict_softmax(model, np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(InputError, match="3, height, width"):
        predict_softmax(model, np.zeros((2, 32, 32, 3), np.float32))
    with pytest.raises(InputError, match="no images"):
        predict_softmax(model, np.zeros((0, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="training mode"):
        predict_softmax(model.train(), np.zeros((2, 32, 32, 3), np.uint8))


def test_a_batch_has_an_image():
    with pytest.raises(InputError, match="batch 0"):
        list(in_batches(list, 8, 0))


def test_a_real_refusal_of_the_cpu_allocator_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
