"""Labels and tags from what stands beside images in tars."""

import pytest

from nndefense.core.errors import InputError
from nndefense.images.description import open_options
from nndefense.images.webdataset import WebDataset
from tests.unit.tar_cases import FISH, sample, write_samples, write_words


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path)


def test_captions_give_tags_by_words_and_no_labels(tmp_path, words):
    captions = ["my TINCA tinca!", "cre\u0300me fraiche", "a tiger shark", "tench beside a tiger shark", "a tiger", ""]
    path = write_samples(tmp_path / "0.tar", *(sample(n, caption=one) for n, one in enumerate(captions)))
    expected = ["tench", "crème", "tiger shark", "", "", ""]
    for caption in ("txt", "caption"):
        stored = WebDataset(str(path), size=16, caption=caption, tags=words)
        assert stored.manifest()["tag"].tolist() == expected
        assert stored.manifest()["label"].tolist() == [-1] * 6
        assert stored.class_names == tuple(FISH)


def test_lists_of_tags_are_captions_too(tmp_path, words):
    given = [["lake", "Tinca tinca"], ["tiger", "shark"], ["tench", "creme", "tench"], [3, None], None, {"tench": 1}, 7]
    path = write_samples(tmp_path / "0.tar", *(sample(n, usertags=one) for n, one in enumerate(given)))
    stored = WebDataset(str(path), size=16, caption="usertags", tags=words)
    assert stored.manifest()["tag"].tolist() == ["tench", "", "tench", "", "", "", ""]


def test_a_label_comes_before_the_caption(tmp_path, words):
    labels = [1, "tench", "Tinca Tinca", 2.0, None, -1, float("nan")]
    path = write_samples(
        tmp_path / "0.tar", *(sample(n, caption="tench", label=one) for n, one in enumerate(labels)), sample(7)
    )
    stored = WebDataset(str(path), size=16, label="label", caption="txt", tags=words)
    assert stored.manifest()["label"].tolist() == [1, 0, 0, 2, -1, -1, -1, -1]
    assert stored.manifest()["tag"].tolist() == ["tiger shark", "tench", "tench", "crème", *["tench"] * 3, ""]
    assert open_options({"kind": "webdataset", "pattern": str(path), "size": 16, "label": "label", "tags": words})


def test_names_without_a_list_are_numbered_in_alphabetical_order(tmp_path):
    names = ["dog", "cat", None, "ox \ud800", "cat"]
    path = write_samples(tmp_path / "0.tar", *(sample(n, animal=one) for n, one in enumerate(names)))
    stored = WebDataset(str(path), size=16, label="animal")
    assert stored.class_names == ("cat", "dog", "ox \\ud800")
    assert stored.manifest()["label"].tolist() == [1, 0, -1, 2, 0]
    assert stored.manifest()["tag"].tolist() == ["dog", "cat", "", "ox \\ud800", "cat"]


def test_names_of_later_tars_count_in_the_first_ones(tmp_path):
    for tar, names in enumerate((["dog"], [], ["cat", "dog"], ["bee"])):
        write_samples(tmp_path / f"{tar}.tar", *(sample(n, animal=one) for n, one in enumerate(names)))
    stored = WebDataset(str(tmp_path / "*.tar"), size=16, label="animal")
    assert stored.class_names == ("bee", "cat", "dog")
    assert stored.manifest()["label"].tolist() == [2, 1, 2, 0]
    assert not stored.read(range(4)).skipped


def test_files_that_hold_labels_or_captions_must_be_there(tmp_path, words):
    files = [sample(n, caption="tench") for n in range(4)]
    files[0]["000000000.cls"], files[1]["000000001.cls"], files[2]["000000002.cls"] = b"1\n", b"", b"tench"
    files[1]["000000001.txt"] = b"\xff"
    del files[2]["000000002.txt"]
    path = write_samples(tmp_path / "0.tar", *files)
    stored = WebDataset(str(path), size=16, label="cls", tags=words)
    assert stored.manifest()["label"].tolist() == [1, -1, 0, -1]
    assert stored.read(range(4)).skipped == {3: "missing cls"}
    stored = WebDataset(str(path), size=16, caption="txt", tags=words)
    assert stored.read(range(4)).skipped == {1: "damaged txt", 2: "missing txt"}
    assert not WebDataset(str(path), size=16).read(range(4)).skipped


@pytest.mark.parametrize(
    ("label", "listed", "expected"),
    [
        (3, True, r"0\.tar/000000001: label 3; allowed: 0 to 2, or -1 for none"),
        (-2, False, "label -2; allowed: 0 to 999999, or -1 for none"),
        (10**9, False, "label 1000000000; allowed: 0 to 999999"),
        ("wren", True, r"0\.tar/000000001: class 'wren' is unknown; allowed: a class of the tag list: tench, tiger"),
        ([1], True, r"label \[1\]; allowed: an integer, the name of a class, or null"),
        (True, False, "label True; allowed: an integer"),
        (1.5, False, "label 1.5; allowed: an integer"),
        (float("inf"), False, "label inf; allowed: an integer"),
        ("wren", False, "label 'wren', where others are numbers; allowed: all alike"),
    ],
)
def test_labels_that_are_no_class_get_one_line(tmp_path, words, label, listed, expected):
    path = write_samples(tmp_path / "0.tar", sample(0, label=0), sample(1, label=label))
    with pytest.raises(InputError, match=expected):
        WebDataset(str(path), size=16, label="label", tags=words if listed else None).manifest()


def test_a_number_among_names_gets_one_line(tmp_path):
    path = write_samples(tmp_path / "0.tar", sample(0, label="cat"), sample(1, label=1))
    with pytest.raises(InputError, match="label 1, where others are names; allowed: all alike"):
        WebDataset(str(path), size=16, label="label").manifest()


def test_a_key_that_no_sample_has_is_named(tmp_path, words):
    path = write_samples(tmp_path / "0.tar", sample(0, label=0), sample(1))
    with pytest.raises(
        InputError, match=r"no sample's JSON has the key 'lable'; allowed: key, caption, status, label$"
    ):
        WebDataset(str(path), size=16, label="lable").manifest()
    with pytest.raises(InputError, match="no sample's JSON has the key 'title'"):
        WebDataset(str(path), size=16, caption="title", tags=words).manifest()
    assert WebDataset(str(path), size=16, label="label").manifest()["label"].tolist() == [0, -1]
