"""Latents: what the last linear layer is given, as an embedding by features has it, with the logits of one pass."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from nndefense.core.errors import ConfigError
from nndefense.models.build import build_model, freeze
from nndefense.models.embedding import Embedding
from nndefense.models.latents import last_linear, latents, latents_and_logits
from nndefense.models.racnn import cut_last_layer
from nndefense.models.standardize import Standardized

from .attack_cases import MEAN, STD, draw_images

CLASSES = 3


def network(architecture="cifar_resnet8", training=False):
    model = build_model(architecture, CLASSES, MEAN, STD, seed=2)
    # Running statistics that a pass in train mode does not give by itself.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(1))
    return model.train(training)


def hooks(model):
    return [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]


class Reused(nn.Module):
    """Asks its last layer as often as it is told."""

    def __init__(self, times):
        super().__init__()
        self.first, self.last, self.times = nn.Linear(108, CLASSES), nn.Linear(CLASSES, CLASSES), times

    def forward(self, images):
        found = self.first(images.flatten(1))
        for _ in range(self.times):
            found = self.last(found)
        return found


class Failing(Reused):
    def forward(self, images):
        super().forward(images)
        raise RuntimeError("stop")


@pytest.mark.parametrize(("architecture", "width"), [("cifar_resnet8", 64), ("resnet18", 512)])
@pytest.mark.parametrize("frozen", [False, True])
def test_latents_are_the_features_of_an_embedding(architecture, width, frozen):
    model = network(architecture)
    model = freeze(model) if frozen else model
    images, _ = draw_images(5, 16)
    found, logits = latents_and_logits(model, images)
    assert found.shape == (5, width)
    assert found.dtype == logits.dtype == torch.float32
    assert torch.equal(found, Embedding(model, "features").features(images))
    assert torch.equal(found, latents(model, images))
    assert torch.equal(logits, model(images))
    assert found.std() > 0


@pytest.mark.parametrize("training", [False, True])
def test_one_pass_changes_nothing_but_what_a_pass_changes(training):
    model, images = network(training=training), draw_images(6, 16)[0]
    model.net.layer2.eval()
    alone = deepcopy(model)
    found, logits = latents_and_logits(model, images)
    assert torch.equal(logits, alone(images))
    torch.testing.assert_close(model.net.linear(found), logits)
    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in model.state_dict().items())
    assert int(model.net.bn1.num_batches_tracked) == training
    assert [one.training for one in model.modules()] == [one.training for one in alone.modules()]
    assert list(dict(model.named_modules())) == list(dict(alone.named_modules()))
    assert not hooks(model)


def test_latents_in_train_mode_are_those_of_the_batch():
    model, images = network(training=True), draw_images(6, 16)[0]
    trained, _ = latents_and_logits(model, images)
    part, _ = latents_and_logits(model, images[:3])
    assert not torch.allclose(trained[:3], part, atol=1e-3)
    assert not torch.allclose(trained, latents(model.eval(), images), atol=1e-3)


def test_half_precision_comes_back_as_float32():
    model, images = network().bfloat16(), draw_images(4, 16)[0].bfloat16()
    for one in (*latents_and_logits(model, images), latents(model, images)):
        assert one.dtype == torch.float32


@pytest.mark.parametrize("training", [False, True])
def test_both_are_differentiable_through_all_layers_before(training):
    model, images = network(training=training), draw_images(4, 16)[0].requires_grad_()
    found, logits = latents_and_logits(model, images)
    names = [name for name, _ in model.named_parameters()]
    for value, reached in ((found, set(names) - {"net.linear.weight", "net.linear.bias"}), (logits, set(names))):
        into = [images, *model.parameters()]
        gradients = torch.autograd.grad(value.square().sum(), into, retain_graph=True, allow_unused=True)
        assert gradients[0].abs().max() > 0
        assert {name for name, one in zip(names, gradients[1:], strict=True) if one is not None} == reached


def test_latents_have_the_slope_of_the_network():
    torch.manual_seed(0)
    model = Standardized(Reused(1), MEAN, STD, classes=CLASSES).double()
    images = draw_images(2, 6)[0].double()
    assert torch.autograd.gradcheck(
        lambda points: latents_and_logits(model, points)[0].double(), images.requires_grad_(), eps=1e-2, atol=1e-4
    )


@pytest.mark.parametrize("training", [False, True])
def test_hook_goes_after_an_error(training):
    model = Standardized(Failing(1), MEAN, STD, classes=CLASSES).train(training)
    with pytest.raises(RuntimeError, match="stop"):
        latents_and_logits(model, draw_images()[0])
    assert not hooks(model)
    assert model.training == training


def test_layer_is_the_one_that_is_cut_off():
    for net in (network().net, network("resnet18").net, Reused(1)):
        name, found = last_linear(net, CLASSES)
        assert net.get_submodule(name) is found
        assert found is cut_last_layer(net, CLASSES)


@pytest.mark.parametrize("net", [nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 5))])
def test_network_without_such_a_layer_is_refused_as_it_is_there(net):
    messages = []
    for find in (last_linear, cut_last_layer):
        with pytest.raises(ConfigError, match="ends in a linear layer of 3 outputs") as caught:
            find(net, CLASSES)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    with pytest.raises(ConfigError, match=messages[0]):
        latents(Standardized(net, MEAN, STD, classes=CLASSES), draw_images()[0])


@pytest.mark.parametrize("times", [0, 2])
def test_layer_that_does_not_run_once_is_refused(times):
    model = Standardized(Reused(times), MEAN, STD, "strange", classes=CLASSES)
    with pytest.raises(ConfigError, match=f"last linear layer runs {times} times in a pass of strange; allowed: 1"):
        latents(model, draw_images()[0])
    assert not hooks(model)
