"""A run's files agree with what a few independent lines compute from them."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nndefense.attacks.noise import random_offsets
from nndefense.core.seeds import derive_seed
from nndefense.models.cifar_resnet import CifarResNet

from .conftest import TINY, Project

pytestmark = pytest.mark.xdist_group("workflow")


def classifier(project: Project, name: str):
    folder = project.folder / "results/models" / name
    about = json.loads((folder / "model.json").read_text())
    net = CifarResNet(1, about["classes"]).eval()
    net.load_state_dict(load_file(folder / "weights.safetensors"))
    mean, std = (torch.tensor(about[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return lambda images: net((images - mean) / std)


def attack(model, images, labels, epsilon, start, steps):
    """Sign steps in the normalised l2 ball, clipped to [0, 1]."""
    norm = images.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    radius, current = epsilon * norm, start.clone()
    for _ in range(steps):
        current.requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(current), labels, reduction="sum")
        step = torch.autograd.grad(loss, current)[0].sign() * 2.5 * radius / steps / images[0].numel() ** 0.5
        moved = current.detach() + step - images
        moved = moved * (radius / moved.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(max=1)
        current = (images + moved).clamp(0, 1)
    return current


@pytest.mark.parametrize(("setting", "attacker"), [("gray_box", "small"), ("black_box", "other")])
def test_rows_without_a_defence_agree_to_the_image(finished: Project, setting: str, attacker: str) -> None:
    results, epsilon = finished.folder / "results", 0.08
    clean = np.load(results / "attacks/clean.npz")
    images, labels = torch.from_numpy(clean["clean/images"]), torch.from_numpy(clean["labels"])
    seed = derive_seed(1, "attack", setting, "pgd")
    direction, share = random_offsets(tuple(images.shape), torch.from_numpy(clean["rows"]), seed, 0)
    radius = epsilon * images.flatten(1).norm(dim=1)
    start = (images + direction * (radius * share).float().view(-1, 1, 1, 1)).clamp(0, 1)
    steps = TINY["attacks"]["methods"]["pgd"]["steps"]
    ours = attack(classifier(finished, attacker), images, labels, epsilon, start, steps)
    name = f"raw01/{setting}/pgd/eps-{epsilon}"
    stored = np.load(results / f"attacks/{name}.npz")
    attacked = torch.from_numpy(stored[f"{epsilon}/images"])
    # Where a ReLU is at its kink, rounding decides on signs of the gradient, and two paths part; another way on
    # another kind of CPU.
    apart = (attacked - ours).abs().flatten(1).amax(1) > 2e-5
    assert apart.sum() <= 2
    delta = (ours - images).flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)
    np.testing.assert_allclose(stored[f"{epsilon}/delta_raw01"][~apart], delta[~apart], rtol=1e-3)
    assert stored[f"{epsilon}/delta_raw01"].max() <= epsilon * (1 + 1e-5)
    with torch.no_grad():
        predicted = classifier(finished, "small")(attacked).argmax(1).numpy()
    np.testing.assert_array_equal(np.load(results / f"predictions/small/none/{name}.npz")[f"{epsilon}@none"], predicted)
    lines = csv.DictReader((results / "accuracy.csv").read_text().splitlines())
    (row,) = [
        one for one in lines if (one["defense"], one["setting"], one["epsilon"]) == ("none", setting, str(epsilon))
    ]
    assert float(row["accuracy"]) == pytest.approx((predicted == labels.numpy()).mean(), abs=1e-6)


def test_votes_agree_with_brute_force(finished: Project) -> None:
    """From features to predictions in one piece: PCA, all distances, softmax average."""
    results, pool = finished.folder / "results", "Targeted"
    shards = ["0-60", "60-120"]
    features = np.concatenate([np.load(results / f"features/small/conv_4_1/{pool}/{one}.npy") for one in shards])
    softmax = np.concatenate([np.load(results / f"softmax/small/{pool}/{one}.npy") for one in shards]).astype(float)
    queries = np.load(results / "features/small/conv_4_1/queries/clean.npy").astype(float)
    sample = features[:60].astype(float)
    _, _, axes = np.linalg.svd(sample - sample.mean(0), full_matrices=False)
    project = lambda values: (values - sample.mean(0)) @ axes[:16].T  # noqa: E731
    distances = ((project(queries)[:, None] - project(features.astype(float))[None]) ** 2).sum(-1)
    nearest = np.argsort(distances, axis=1)[:, :10]
    merged = np.load(results / f"neighbors/small/conv_4_1/{pool}/merged/clean.npz")
    assert merged["stops"].tolist() == [60, 120]
    np.testing.assert_array_equal(np.sort(merged["ids"][0, 1, :, :10]), np.sort(nearest))
    gaps = np.sort(softmax, axis=1)[:, -1:] - softmax
    weights = (gaps**3).sum(1)
    votes = (weights[nearest][..., None] * softmax[nearest]).sum(1)
    stored = np.load(results / "predictions/small/conv_4_1/clean.npz")
    np.testing.assert_array_equal(stored[f"clean@{pool}/120/10/UW/soft"], softmax[nearest].mean(1).argmax(1))
    np.testing.assert_array_equal(stored[f"clean@{pool}/120/10/CBW-D/soft"], votes.argmax(1))
