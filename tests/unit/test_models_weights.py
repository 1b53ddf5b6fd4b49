"""Reading weights, and refusing those that are damaged, malicious, or of another model."""

import argparse
import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nndefense.core.errors import FileFault
from nndefense.models.build import build_model, build_network
from nndefense.models.forms import HEADS, head_of
from nndefense.models.weights import SUFFIXES, apply_weights, describe_state, load_weights, network_state, read_weights

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def _model(name="cifar_resnet8", classes=10, seed=0):
    return build_model(name, classes, MEAN, STD, seed=seed)


def _prefixed(state, *prefixes):
    return {"".join(prefixes) + key: value for key, value in state.items()}


def _as(key):
    return lambda state: {key: state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "epoch": torch.tensor(3)}


# What programs write: what is saved, of the network's state.
FORMS = {
    "plain": dict,
    "with_numbers": lambda state: {**state, "epoch": 3, "best": 0.5},
    "module": lambda state: _prefixed(state, "module."),
    "compiled": lambda state: _prefixed(state, "module.", "_orig_mod."),
    "state_dict": _as("state_dict"),
    "model_state_dict": _as("model_state_dict"),
    "model": _as("model"),
    "net": lambda state: {"net": _prefixed(state, "module."), "acc": np.float64(93.5), "epoch": 7},
    "name_of_the_model": lambda state: {"model": "resnet8", "state_dict": state},
    "settings_of_the_model": lambda state: {"model": {"depth": 8}, "state_dict": state},
    "nested": lambda state: {"state_dict": {"model": _prefixed(state, "module.", "model.")}},
    "lightning": lambda state: {
        "state_dict": {**_prefixed(state, "model."), "criterion.weight": torch.ones(10)},
        "pytorch-lightning_version": "2",
        "callbacks": {"best": defaultdict(list, a=[1])},
    },
    "lightning_net": lambda state: {"state_dict": _prefixed(state, "net.", "module.")},
    "arguments": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1), "arch": "resnet8"},
    "averaged": lambda state: {
        "state_dict": {key: value * 0 for key, value in state.items()},
        "state_dict_ema": _prefixed(state, "module."),
    },
    "averaged_torchvision": lambda state: {
        "model": {key: value * 0 for key, value in state.items()},
        "model_ema": {"n_averaged": torch.tensor(5), **_prefixed(state, "module.")},
        "args": argparse.Namespace(),
    },
    "counted": lambda state: {
        **state,
        **{f"{key.rpartition('.')[0]}.total_ops": torch.zeros(1, dtype=torch.float64) for key in state},
        "total_params": torch.zeros(1),
    },
    "standardized": lambda state: {
        **_prefixed(state, "module.", "model."),
        "module.normalizer.new_mean": torch.tensor(MEAN).view(3, 1, 1),
        "module.attacker.model.linear.weight": torch.zeros(10, 64),
    },
    "double": lambda state: {key: value.double() if value.ndim else value for key, value in state.items()},
    "parameters": lambda state: {key: torch.nn.Parameter(value, value.is_floating_point()) for key, value in
                                 state.items()},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_accepted_form_restores_the_network(tmp_path, form):
    source, target = _model(seed=1), _model(seed=2)
    path = tmp_path / "weights.pth.tar"
    torch.save(FORMS[form](network_state(source)), path)
    apply_weights(target.train(), load_weights(path), path.name)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(images), target(images))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_file_restores_the_network(tmp_path, suffix):
    source, target = _model(seed=1), _model(seed=2)
    state, path = network_state(source), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(_prefixed(state, "model."), path, metadata={"format": "pt", "epoch": "3"})
    else:
        torch.save(state, path)
    apply_weights(target, load_weights(path), path.name)
    assert torch.equal(source.net.conv1.weight, target.net.conv1.weight)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_earlier_versions_of_torch(tmp_path, legacy):
    state, path = network_state(_model(seed=1)), tmp_path / "weights.pth"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    assert load_weights(path).keys() == state.keys()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_halves_become_single_precision(tmp_path, kind, suffix):
    state = {
        key: value.to(kind) if value.is_floating_point() else value
        for key, value in network_state(_model(seed=1)).items()
    }
    path = tmp_path / f"half{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    found = load_weights(path)
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
    model = apply_weights(_model(), found, "half")
    assert torch.equal(model.net.conv1.weight, state["conv1.weight"].float())


def test_the_choice_among_several_is_told(tmp_path):
    state = network_state(_model())
    torch.save({"model": state, "state_dict_ema": state, "state_dict": state}, tmp_path / "several.pth")
    found = read_weights(tmp_path / "several.pth")
    assert (found.entry, found.others) == ("state_dict_ema", ("state_dict", "model"))
    assert str(found) == "takes state_dict_ema, not state_dict, model"
    torch.save({**_prefixed(state, "model."), "criterion.weight": torch.ones(10)}, tmp_path / "besides.pth")
    assert str(read_weights(tmp_path / "besides.pth")) == "leaves out criterion.weight"
    torch.save(state, tmp_path / "one.pth")
    assert str(read_weights(tmp_path / "one.pth")) == ""


@pytest.mark.parametrize("part", ["", ".1"])
@pytest.mark.parametrize("name", HEADS)
def test_the_last_layer_has_any_of_the_usual_names(name, part):
    source, target = _model(seed=1), _model(seed=2)
    state = {key.replace("linear.", f"{name}{part}."): value for key, value in network_state(source).items()}
    assert head_of(state) == f"{name}{part}"
    assert describe_state(state) == ("cifar_resnet8", 10)
    apply_weights(target, state, "weights")
    assert torch.equal(source.net.linear.bias, target.net.linear.bias)
    with pytest.raises(
        FileFault, match=r"w: holds cifar_resnet8 with 10 classes, but .* is cifar_resnet8 with 7 classes"
    ):
        apply_weights(_model(classes=7), state, "w")


def test_a_network_is_not_looked_for_within_a_network():
    state = network_state(_model()) | {"model.other": torch.ones(1)}
    with pytest.raises(FileFault, match=r"1 tensors are unknown, the first is 'model.other'"):
        apply_weights(_model(), state, "weights")


def test_two_last_layers_are_not_mixed_up():
    state = network_state(_model())
    two = {key.replace("linear.", "fc.0."): value for key, value in state.items()} | {"fc.2.weight": torch.ones(10, 10)}
    with pytest.raises(FileFault, match="missing, the first is 'linear"):
        apply_weights(_model(), two, "weights")


def test_images_that_are_standardised_otherwise_are_refused():
    state = _model().state_dict()
    assert torch.equal(apply_weights(_model(), state, "w").mean, _model().mean)
    state["mean"] = state["mean"] + 0.01
    with pytest.raises(
        FileFault, match=r"w: mean of its images is \[0.51, .*has \[0.5, 0.5, 0.5\]; allowed: the file's"
    ):
        apply_weights(_model(), state, "w")


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


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_model_is_refused_and_it_is_said_how_to_export(tmp_path, wrapped):
    model = _model().net
    path = tmp_path / "whole.pth"
    torch.save({"model": model, "epoch": 3} if wrapped else model, path)
    with pytest.raises(FileFault, match=r"whole model \(nndefense.models.cifar_resnet.CifarResNet\).*state_dict\(\)"):
        load_weights(path)
    torch.jit.save(torch.jit.trace(model.eval(), torch.rand(1, 3, 32, 32)), path)
    with pytest.raises(FileFault, match=r"whole.pth: holds a TorchScript program; allowed: .*state_dict\(\)"):
        load_weights(path)
    torch.save(model, path, _use_new_zipfile_serialization=False)
    with pytest.raises(FileFault, match=r"more than tensors .*torch.save\(model.state_dict\(\), "):
        load_weights(path)


def test_what_lies_beside_the_tensors_is_not_executed(tmp_path):
    trace, state = tmp_path / "executed", network_state(_model())
    torch.save({"state_dict": state, "callback": _Malicious(trace)}, tmp_path / "beside.pth")
    assert load_weights(tmp_path / "beside.pth").keys() == state.keys()
    assert not trace.exists()
    # Nothing stays allowed behind it.
    assert not [one for one in torch.serialization.get_safe_globals() if one.__name__ == "open"]


def test_a_dict_within_itself_is_refused(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "endless.pth")
    with pytest.raises(FileFault, match="holds no state dict"):
        load_weights(tmp_path / "endless.pth")


@pytest.mark.parametrize("change", [torch.Tensor.to_sparse, lambda value: value.to("meta")])
def test_tensors_of_other_kinds_are_refused(tmp_path, change):
    state = network_state(_model())
    torch.save(state | {"conv1.weight": change(state["conv1.weight"])}, tmp_path / "other.pth")
    with pytest.raises(FileFault, match=r"'conv1.weight' is quantized, sparse or empty"):
        load_weights(tmp_path / "other.pth")


def test_integers_are_no_weights():
    state = network_state(_model())
    with pytest.raises(FileFault, match=r"'conv1.weight' is torch.int8; allowed: floats"):
        apply_weights(_model(), state | {"conv1.weight": state["conv1.weight"].to(torch.int8)}, "weights")


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


@pytest.mark.parametrize(
    "name", ["cifar_resnet20", "resnet34", "resnet50", "wide_resnet50_2", "resnext50_32x4d", "resnext101_64x4d"]
)
def test_architectures_are_recognised_by_their_tensors(name):
    with torch.device("meta"):
        state = build_network(name, 11).state_dict()
    assert describe_state(state) == (name, 11)


def test_not_finite_weights_are_refused_by_name():
    state = network_state(_model())
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(FileFault, match=r"layer1\.0\.conv1\.weight"):
        apply_weights(_model(), state, "weights")
