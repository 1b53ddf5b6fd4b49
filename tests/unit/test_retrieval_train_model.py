"""The script that trains, with noise and for embeddings: widths, starts, labels of other classes, stops."""

import pytest
import torch

from nndefense.core.errors import InputError
from nndefense.images.description import list_set

from .test_train_model import Workplace, stop

SHORT = {"method": "metric_learning", "epochs": 2, "dimensions": 6, "sigma": 0.1, "per_class": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Workplace(tmp_path_factory.mktemp("training"))
    place.train("classifier", epochs=1)
    return place


def open_model(place, name):
    from nndefense.models.checkpoint import open_checkpoint

    return open_checkpoint(place.folder / name / "model.json")


def test_script_trains_an_embedding_of_its_own_width_from_a_classifier(place):
    place.train("metric", initial=("classifier",), learning_rate=1e-9, **SHORT)
    model, about = open_model(place, "metric")
    assert about["classes"] == 6
    assert model.classes == 6
    assert about["provenance"]["recipe"]["method"] == "metric_learning"
    own, others = model.net.state_dict(), open_model(place, "classifier")[0].net.state_dict()
    assert [len(value) for value in own.values() if value.ndim == 2] == [6]
    assert [len(value) for value in others.values() if value.ndim == 2] == [10]
    close = [torch.allclose(own[key], others[key], atol=1e-6) for key in own if own[key].ndim == 4]
    assert len(close) > 5
    assert all(close)


def test_script_starts_from_the_whole_of_an_embedding_of_the_same_width(place):
    place.train("first", **SHORT)
    place.train("further", initial=("first",), learning_rate=1e-9, **SHORT)
    own, others = (open_model(place, name)[0].net.state_dict() for name in ("further", "first"))
    assert all(torch.allclose(own[key], others[key], atol=1e-6) for key in own if own[key].ndim == 2)


def test_stopped_script_ends_with_the_same_bytes(place, monkeypatch):
    recipe = {**SHORT, "miner": "distance_weighted"}
    place.train("whole", **recipe)
    stop(place, monkeypatch, "stopped", 1, **recipe)
    assert "goes on after epoch 1" in place.train("stopped", **recipe)
    assert place.content("stopped") == place.content("whole")


def test_noise_trains_a_classifier(place):
    place.train("noise", initial=("classifier",), method="gaussian_noise", sigma=0.25, epochs=1)
    model, about = open_model(place, "noise")
    assert (model.classes, about["classes"], about["provenance"]["recipe"]["sigma"]) == (10, 10, 0.25)
    own, others = (one.state_dict() for one in (model, open_model(place, "classifier")[0]))
    assert not all(torch.equal(own[key], others[key]) for key in own)


def test_labels_of_other_classes_train_an_embedding_and_no_classifier(tmp_path):
    place = Workplace(tmp_path)
    options = {"kind": "shapes", "first": 0, "rows": 60, "content": "others", "size": 16}
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    list_set("others", options, *files)
    place.train("metric", **SHORT)
    assert open_model(place, "metric")[1]["provenance"]["images"] == 60
    with pytest.raises(InputError, match=r"others has labels 0 to 18; allowed: 0 to 9 \(`classes` is 10\)"):
        place.train("classifier")
    list_set("web", options | {"content": "web"}, *files)
    with pytest.raises(InputError, match="has labels -1 to 9; allowed: from 0"):
        place.train("unlabelled", **SHORT)
