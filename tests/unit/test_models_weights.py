"""Reading weights, and refusing those that are damaged, malicious, or of another model."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nndefense.core.errors import FileFault
from nndefense.models.build import build_model
from nndefense.models.weights import apply_weights, describe_state, load_weights, network_state

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def _model(name="cifar_resnet8", classes=10, seed=0):
    return build_model(name, classes, MEAN, STD, seed=seed)


@pytest.mark.parametrize("kind", ["safetensors", "plain.pth", "state_dict.pt", "model.pth", "module.pth"])
def test_every_accepted_form_restores_the_network(tmp_path, kind):
    source, target = _model(seed=1), _model(seed=2)
    state = network_state(source)
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "module.pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    else:
        wrapper = kind.split(".")[0]
        torch.save(state if wrapper == "plain" else {wrapper: state}, path)
    apply_weights(target.train(), load_weights(path), path.name)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(images), target(images))


def test_state_of_the_standardized_model_and_absent_counters_are_accepted():
    source, target = _model(seed=1), _model(seed=2)
    state = {k: v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    apply_weights(target, state, "weights")
    assert torch.equal(source.net.conv1.weight, target.net.conv1.weight)


class _Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_malicious_pickle_is_refused_and_not_executed(tmp_path):
    trace = tmp_path / "executed"
    torch.save({"state_dict": _Malicious(trace)}, tmp_path / "bad.pth")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Malicious(trace), protocol=2))
    for name in ("bad.pth", "plain.pt"):
        with pytest.raises(FileFault, match=name) as caught:
            load_weights(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    path = tmp_path / f"weights.{suffix}"
    state = network_state(_model())
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FileFault, match="weights") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_state_dict_are_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    np.save(tmp_path / "array.npy", np.zeros(2))
    for name in ("list.pth", "epoch.pth", "page.pth", "array.npy", "absent.pth"):
        with pytest.raises(FileFault, match=name):
            load_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (
            ("cifar_resnet14", 10),
            ("cifar_resnet8", 10),
            "cifar_resnet14 with 10 .* is cifar_resnet8 with 10 ",
        ),
        (
            ("cifar_resnet8", 100),
            ("cifar_resnet8", 10),
            "cifar_resnet8 with 100 .* is cifar_resnet8 with 10 ",
        ),
        (("resnet18", 5), ("cifar_resnet8", 10), "holds resnet18 with 5 .* is cifar_resnet8 with 10 "),
    ],
)
def test_other_architecture_or_classes_are_both_named(source, target, message):
    model = _model(*target)
    before = network_state(model)
    with pytest.raises(FileFault, match=message):
        apply_weights(model, network_state(_model(*source)), "weights.pth")
    assert all(torch.equal(value, before[key]) for key, value in network_state(model).items())


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet34", "resnet50"])
def test_architectures_are_recognised_by_their_tensors(name):
    assert describe_state(network_state(_model(name, 11))) == (name, 11)


def test_not_finite_weights_are_refused_by_name():
    state = network_state(_model())
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(FileFault, match=r"layer1\.0\.conv1\.weight"):
        apply_weights(_model(), state, "weights")
