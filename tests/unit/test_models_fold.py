"""Batch norms folded into convolutions: the same outputs and gradients, the same module names."""

import pytest
import torch
from torch import nn

from nndefense.models.build import build_model
from nndefense.models.fold import fold_batch_norms

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def with_statistics(model: nn.Module) -> nn.Module:
    """Batch norms of a trained network are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.2 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            with torch.no_grad():
                module.weight.copy_(0.5 + torch.rand(module.num_features, generator=generator))
                module.bias.copy_(0.2 * torch.randn(module.num_features, generator=generator))
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(("name", "side"), [("cifar_resnet14", 32), ("resnet18", 64), ("resnet50", 64)])
def test_outputs_and_input_gradients_stay_and_no_batch_norm_is_left(name, side):
    model = with_statistics(build_model(name, 10, MEAN, STD)).double()
    folded = fold_batch_norms(model)
    images = torch.rand(3, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for network in (model, folded):
        point = images.clone().requires_grad_()
        logits = network(point)
        results.append((logits, *torch.autograd.grad(logits.logsumexp(1).sum(), point)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
    assert norms(model) > 0, "the model itself was changed"
    assert norms(folded) == 0
    assert [name for name, _ in model.named_modules()] == [name for name, _ in folded.named_modules()]


class Shared(nn.Module):
    """A convolution whose output has a second user, one that is used twice, and a batch norm after an addition."""

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.twice, self.twice_norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.sum_norm = nn.BatchNorm2d(3)
        self.last, self.last_norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        first = self.first(images)
        total = self.first_norm(first) + first
        total = self.twice_norm(self.twice(total)) + self.twice(images)
        return self.last_norm(self.last(self.sum_norm(total)))


def test_only_norms_that_alone_use_a_convolution_are_folded():
    model = with_statistics(Shared())
    folded = fold_batch_norms(model)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)
    kept = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert kept == ["first_norm", "twice_norm", "sum_norm"]


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, images):
        values = self.norm(self.conv(images))
        return values if values.sum() > 0 else -values


@pytest.mark.parametrize("model", [Untraceable().eval(), build_model("cifar_resnet8", 10, MEAN, STD).train()])
def test_what_cannot_be_folded_is_copied(model):
    folded = fold_batch_norms(model)
    assert folded is not model
    assert norms(folded) == norms(model) > 0
    assert folded.training == model.training
