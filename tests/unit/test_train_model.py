"""The script that trains: what it writes, and that a stopped job goes on where it was, with the same bytes."""

import argparse
import io
import json
from pathlib import Path

import pytest

import train_model
from nndefense.core.command import Job
from nndefense.images.description import list_set
from nndefense.models import training_files
from nndefense.models.history import read_history

RECIPE = {
    "images": "train",
    "epochs": 3,
    "batch": 16,
    "learning_rate": 0.05,
    "weight_decay": 1e-4,
    "flip": True,
    "threads": 1,
    "initial": None,
    "method": "standard",
}
FILES = ("weights.safetensors", "model.json", "training.csv")


class Killed(BaseException):
    """Nothing that the script would catch."""


class Workplace:
    """A folder with a training set, in which jobs run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        options = {"kind": "shapes", "seed": 1, "first": 0, "rows": 48, "content": "task", "size": 16}
        list_set("train", options, folder / "set.json", folder / "manifest.parquet")

    def train(
        self, name: str, *, initial: tuple[str, ...] = (), sources: tuple[str, ...] = (), clusters=(), **recipe
    ) -> str:
        """Run the script; its log."""
        settings = {"architecture": "cifar_resnet8", "mean": [0.5] * 3, "std": [0.25] * 3, "train": RECIPE | recipe}
        output = self.folder / name
        output.mkdir(exist_ok=True)
        arguments = argparse.Namespace(
            name="model",
            model=json.dumps(settings),
            classes=10,
            manifest=str(self.folder / "manifest.parquet"),
            images=str(self.folder / "set.json"),
            initial=[str(self.folder / one / "model.json") for one in initial],
            sources=[str(self.folder / one / "model.json") for one in sources],
            clusters=[str(self.folder / one) for one in clusters],
            seed=1,
            skip_limit=0.0,
            threads=1,
            **dict(zip(("weights", "description", "history"), (str(output / file) for file in FILES), strict=True)),
        )
        log = io.StringIO()
        train_model.main(arguments, Job(log, gpus=0, threads=1))
        return log.getvalue()

    def content(self, name: str) -> dict[str, bytes]:
        """All files that a job left."""
        return {path.name: path.read_bytes() for path in (self.folder / name).iterdir()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def whole(place):
    place.train("whole")
    return place.content("whole")


def stop(place, monkeypatch, name, epoch, **recipe):
    """A job that is killed when it has written the state after `epoch`."""
    write = training_files.write_state

    def killing(path, state, fingerprint):
        write(path, state, fingerprint)
        if state.epoch == epoch:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training_files, "write_state", killing)
        with pytest.raises(Killed):
            place.train(name, **recipe)
    assert set(place.content(name)) == {"training.state"}


def test_results_are_complete_and_nothing_else_stays(whole, place):
    assert set(whole) == set(FILES)
    about = json.loads(whole["model.json"])
    history = read_history(place.folder / "whole/training.csv")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["loss"] for row in history] == pytest.approx(
        [row["loss"] for row in about["provenance"]["history"]], rel=1e-5
    )
    assert whole["training.csv"].startswith(b"epoch,loss,accuracy,learning_rate\n1,")


@pytest.mark.parametrize("epoch", [1, 3])
def test_stopped_job_goes_on_and_ends_with_the_same_bytes(place, whole, monkeypatch, epoch):
    stop(place, monkeypatch, f"stopped-{epoch}", epoch)
    assert f"goes on after epoch {epoch}: training.state" in place.train(f"stopped-{epoch}")
    assert place.content(f"stopped-{epoch}") == whole


def test_damaged_state_is_left_out_with_a_line_in_the_log(place, whole, monkeypatch):
    stop(place, monkeypatch, "damaged", 2)
    state = place.folder / "damaged/training.state"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert "starts with epoch 1: training.state is left out" in place.train("damaged")
    assert place.content("damaged") == whole


def test_state_of_other_settings_is_left_out_with_a_line_in_the_log(place, whole, monkeypatch):
    stop(place, monkeypatch, "stale", 2, learning_rate=0.01)
    assert "training.state is of other settings, data or software" in place.train("stale")
    assert place.content("stale") == whole


def test_state_of_other_code_is_left_out(place, whole, monkeypatch):
    stop(place, monkeypatch, "code", 2)
    monkeypatch.setattr(train_model, "fingerprint", lambda *_: "edited")
    assert "training.state is of other settings, data or software" in place.train("code")
    assert place.content("code") == whole


def test_training_starts_from_another_models_weights(place, whole):
    log = place.train("further", initial=("whole",), epochs=1, learning_rate=1e-9)
    assert "starts with epoch 1" in log
    further, before = (json.loads(place.content(name)["model.json"]) for name in ("further", "whole"))
    first = further["provenance"]["history"][0]["loss"]
    losses = [row["loss"] for row in before["provenance"]["history"]]
    assert first < losses[0] - 0.2


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ensemble_training", {"epsilon": 0.03, "attack": "random_fgsm"}),
        ("logit_pairing", {"epsilon": 0.03, "attack_steps": 2, "pairing_weight": 0.5}),
    ],
)
def test_defences_train_stop_and_go_on_alike(place, whole, monkeypatch, method, options):
    recipe = {"method": method, "epochs": 2, **options}
    if method == "ensemble_training":
        recipe["sources"] = ("whole",)
    place.train(method, **recipe)
    stop(place, monkeypatch, f"{method}-stopped", 1, **recipe)
    place.train(f"{method}-stopped", **recipe)
    assert place.content(f"{method}-stopped") == place.content(method)
    assert place.content(method)["weights.safetensors"] != whole["weights.safetensors"]
