"""PGD against the attacks of torchattacks and the Adversarial Robustness Toolbox on a trained network."""

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from tests.unit.attack_cases import trained_net

EPSILON, STEPS = 0.08, 10


@pytest.fixture(scope="module")
def trained():
    return trained_net()


def losses(net, images, labels):
    with torch.no_grad():
        return nn.functional.cross_entropy(net(images), labels, reduction="none")


def ours(trained, **options):
    net, images, labels = trained
    attack = PGD(steps=STEPS, **options)
    return attack.run(net, images, labels, epsilon=EPSILON, ball=RAW, rows=torch.arange(24), seed=0)


def radii(images):
    return EPSILON * images.flatten(1).norm(dim=1)


def by_torchattacks(trained, random_start):
    torchattacks = pytest.importorskip("torchattacks")
    net, images, labels = trained
    found = []
    # Its radius is one number a call: one image at a time.
    for image, label, radius in zip(images, labels, radii(images).tolist(), strict=True):
        attack = torchattacks.PGDL2(net, eps=radius, alpha=2.5 * radius / STEPS, steps=STEPS, random_start=random_start)
        found.append(losses(net, attack(image[None], label[None]), label[None]))
    return torch.cat(found)


def by_art(trained):
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    net, images, labels = trained
    classifier = PyTorchClassifier(net, nn.CrossEntropyLoss(), (3, 12, 12), 3, clip_values=(0, 1), device_type="cpu")
    radius = radii(images).view(-1, 1, 1, 1).numpy()
    attack = ProjectedGradientDescent(
        classifier, norm=2, eps=radius, eps_step=2.5 * radius / STEPS, max_iter=STEPS, verbose=False
    )
    adversarial = torch.from_numpy(attack.generate(images.numpy(), np.eye(3)[labels]))
    net.eval()
    return losses(net, adversarial, labels)


def test_attack_succeeds_and_loss_after_is_that_of_the_images(trained):
    net, _, labels = trained
    result = ours(trained)
    torch.testing.assert_close(result.loss_after, losses(net, result.images, labels), rtol=1e-4, atol=1e-5)
    assert result.loss_after.mean() > 3 * result.loss_before.mean()


def test_l2_direction_equals_the_libraries_from_the_same_start(trained):
    mean = ours(trained, direction="l2", random_start=False).loss_after.mean()
    torch.testing.assert_close(mean, by_torchattacks(trained, random_start=False).mean(), rtol=5e-3, atol=0)
    torch.testing.assert_close(mean, by_art(trained).mean(), rtol=5e-3, atol=0)


def test_restarts_reach_the_loss_of_a_library_with_a_random_start(trained):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = by_torchattacks(trained, random_start=True)
    assert ours(trained, direction="l2", restarts=3).loss_after.mean() >= theirs.mean()


def test_sign_steps_spend_the_budget_less_well_than_l2_steps(trained):
    # An l2 ball favours the gradient itself: the paper's sign steps are the weaker attack at the same radius.
    sign, l2 = (ours(trained, direction=name) for name in ("sign", "l2"))
    assert sign.loss_after.mean() < l2.loss_after.mean()
    assert sign.loss_after.mean() > 1.5 * sign.loss_before.mean()
