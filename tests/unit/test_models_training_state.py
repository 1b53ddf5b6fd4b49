"""A training that is stopped and goes on ends with the same bits; what does not belong to it is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from nndefense.core.errors import FileFault, InputError
from nndefense.models.build import build_model
from nndefense.models.train import train
from nndefense.models.training_files import read_state, write_state
from nndefense.models.training_state import fingerprint, pack_state, unpack_state

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SETTINGS = {"epochs": 3, "batch": 16, "learning_rate": 0.1, "weight_decay": 1e-4, "seed": 5, "threads": 1}


def data(count=48):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8), np.arange(count) % 3


def network():
    return build_model("cifar_resnet8", 3, MEAN, STD)


class Stopped(Exception):
    pass


def stop_after(epoch, states):
    """Keeps every state, packed, and stops after `epoch`."""

    def on_epoch(state):
        states.append(pack_state(state))
        if state.epoch == epoch:
            raise Stopped

    return on_epoch


@pytest.fixture(scope="module")
def whole():
    """A training without a stop: weights, history, and the packed states after its epochs."""
    model, states = network(), []
    history = train(model, *data(), **SETTINGS, on_epoch=stop_after(None, states))
    return model.state_dict(), history, states


@pytest.mark.parametrize("epoch", [1, 2])
def test_stopped_training_ends_with_the_same_bits(whole, epoch):
    weights, history, _ = whole
    model, states = network(), []
    with pytest.raises(Stopped):
        train(model, *data(), **SETTINGS, on_epoch=stop_after(epoch, states))
    assert not torch.equal(model.state_dict()["net.linear.weight"], weights["net.linear.weight"])
    # Another seed of the initial weights: nothing of them may remain.
    model = build_model("cifar_resnet8", 3, MEAN, STD, seed=9)
    steps = []
    resumed = train(
        model,
        *data(),
        **SETTINGS,
        resume=unpack_state(states[-1]),
        on_step=lambda *call: steps.append(call[:3]),
        report_every=3,
    )
    assert resumed == history
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert steps == [(epoch + more, 3 * (epoch + more), 9) for more in range(1, 4 - epoch)]
    assert not model.training


def test_only_chosen_parameters_have_momentum():
    def chosen(model):
        return list(model.net.linear.parameters())

    model, states = network(), []
    train(model, *data(), **SETTINGS, parameters=chosen(model), on_epoch=stop_after(None, states))
    state = unpack_state(states[0])
    assert set(state.momentum) == {"net.linear.weight", "net.linear.bias"}
    again = network()
    train(again, *data(), **SETTINGS, parameters=chosen(again), resume=state)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    again = network()
    with pytest.raises(InputError, match="momentum of another model"):
        train(again, *data(), **SETTINGS, parameters=[again.net.conv1.weight], resume=state)


def test_a_finished_training_is_not_trained_further(whole):
    weights, history, states = whole
    model = network()
    assert train(model, *data(), **SETTINGS, resume=unpack_state(states[-1])) == history
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_the_state_is_a_copy(whole):
    """Training after `on_epoch` must not change what it was given."""
    kept = []
    train(network(), *data(), **SETTINGS, on_epoch=kept.append)
    assert [pack_state(state) for state in kept] == whole[2]


def test_state_of_another_model_is_refused_before_anything_changes(whole):
    state = unpack_state(whole[2][0])
    model = build_model("cifar_resnet14", 3, MEAN, STD)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match="weights of another model"):
        train(model, *data(), **SETTINGS, resume=state)
    with pytest.raises(InputError, match="1 epochs has a history of 0"):
        train(network(), *data(), **SETTINGS, resume=dataclasses.replace(state, history=[]))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_packed_state_comes_back_whole_and_other_bytes_do_not(whole):
    content = whole[2][1]
    state = unpack_state(content)
    assert state.epoch == 2
    assert state.history == whole[1][:2]
    assert state.generator.dtype == torch.uint8
    assert pack_state(state) == content
    for bad in (b"", b"nothing", content[:-5], content[:300]):
        with pytest.raises(FileFault, match="no state of a training"):
            unpack_state(bad)


def test_state_in_a_file(tmp_path, whole):
    path, state = tmp_path / "training.state", unpack_state(whole[2][0])
    assert read_state(path, "mine") == (None, "starts with epoch 1")
    write_state(path, state, "mine")
    found, sentence = read_state(path, "mine")
    assert pack_state(found) == pack_state(state)
    assert sentence == "goes on after epoch 1: training.state"
    assert read_state(path, "another") == (
        None,
        "starts with epoch 1: training.state is of other settings, data or software",
    )
    content = path.read_bytes()
    for place in (3, len(content) // 2, len(content) - 40):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        found, sentence = read_state(path, "mine")
        assert found is None
        assert "training.state is left out" in sentence or "other settings" in sentence


def test_fingerprint_sees_settings_images_and_labels():
    images, labels = data()
    others = images.copy()
    others[3, 2, 1, 0] ^= 1
    prints = [
        fingerprint({"epochs": 3}, images, labels),
        fingerprint({"epochs": 4}, images, labels),
        fingerprint({"epochs": 3}, others, labels),
        fingerprint({"epochs": 3}, images, labels[::-1]),
        fingerprint({"epochs": 3}, images.reshape(48, 8, 32, 3), labels),
    ]
    assert len(set(prints)) == 5
    assert prints[0] == fingerprint({"epochs": 3}, images.copy(), labels.astype(np.int32))
