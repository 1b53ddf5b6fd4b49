"""Images in tars: the same as from folders, whatever the tar, and at the cost of headers."""

import io
import json
import sys
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset import TarWriter
from webdataset import WebDataset as Stream
from webdataset.tariterators import group_by_keys

from nndefense.config import load_config
from nndefense.config.document import schema
from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.files import read_json, write_json
from nndefense.images import decode, folder, tar_listing, tars, webdataset
from nndefense.images.description import list_set, open_described, open_options
from nndefense.images.folder import Folder
from nndefense.images.tars import read_samples
from nndefense.images.webdataset import WebDataset
from tests.unit.config_cases import SMALL, message
from tests.unit.image_cases import rows_of
from tests.unit.tar_cases import (
    cut,
    encoded,
    picture,
    sample,
    sources,
    write_samples,
    write_tar,
    write_words,
)


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path)


# -- what is read


def test_images_labels_and_tags_are_those_of_the_same_files_in_folders(tmp_path):
    shards = [[], [], []]
    for number in range(24):
        name, suffix = ("cow", "cat", "dog")[number % 3], ("jpg", "png", "webp")[number // 3 % 3]
        place = tmp_path / f"files/{name}/{number:09d}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(number, suffix, 30 + number, 40))
        shards[number // 9].append(sample(number, suffix, animal=name))
        shards[number // 9][-1][f"{number:09d}.{suffix}"] = place.read_bytes()
    for number, shard in enumerate(shards):
        write_samples(tmp_path / f"tars/{number:05d}.tar", *shard)
    for geometry in ({"size": 16}, {"size": 16, "resize": 20}, {"size": 24, "crop": "none"}):
        files = Folder(str(tmp_path / "files"), **geometry)
        stored = WebDataset(str(tmp_path / "tars/*.tar"), label="animal", **geometry)
        assert stored.class_names == files.class_names
        ours, theirs = ({Path(s.partition("@")[0]).name: (*rest, row) for row, (s, *rest) in enumerate(rows_of(one))}
                        for one in (stored, files))  # fmt: skip
        assert {name: entry[:2] for name, entry in ours.items()} == {name: entry[:2] for name, entry in theirs.items()}
        names = sorted(ours, reverse=True)
        batch = stored.read([ours[name][2] for name in names])
        assert not batch.skipped
        assert np.array_equal(batch.images, files.read([theirs[name][2] for name in names]).images)


def test_rows_are_those_that_webdataset_gives(tmp_path):
    path = tmp_path / "0.tar"
    with TarWriter(str(path)) as writer:
        for number in range(7):
            about = {"label": number % 3, "caption": f"number {number}"}
            writer.write({"__key__": f"deep/{number}", "png": encoded(number, "png"), "json": about, "cls": number % 3})
    theirs = list(Stream(str(path), shardshuffle=False, empty_check=False))
    stored = WebDataset(str(path), size=30, resize=30, label="cls")
    assert sources(stored) == [f"0.tar/{one['__key__']}.png" for one in theirs]
    assert stored.manifest()["label"].tolist() == [int(one["cls"]) for one in theirs]
    assert stored.class_names == ("class 0", "class 1", "class 2")
    assert stored.manifest()["tag"].tolist()[:4] == ["class 0", "class 1", "class 2", "class 0"]
    assert np.array_equal(stored.read([3]).images[0], picture(3)[:, 5:35])


NAMES = st.lists(
    st.tuples(st.sampled_from(["", "x/", "x.y/", "./"]), st.sampled_from(["a", "b", ".a", "a.b", "é\n"]),
              st.sampled_from(["", ".jpg", ".JPG", ".jpg\n", ".tar.gz", ".", ".json"])).map("".join),
    max_size=9,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_files_are_grouped_as_webdataset_groups_them(names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name or "nameless")
            info.size = number
            tar.addfile(info, io.BytesIO(bytes(number)))
    with tempfile.TemporaryFile() as handle:
        handle.write(stream.getvalue())
        handle.seek(0)
        ours = [(one.key, {suffix: file.size for suffix, file in one.files.items()}) for one in read_samples(handle)]
    given = [{"fname": name or "nameless", "data": number, "__url__": ""} for number, name in enumerate(names)]
    theirs = group_by_keys(given, handler=lambda _: True)
    assert ours == [(one.pop("__key__"), {name: one[name] for name in one if name != "__url__"}) for one in theirs]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_odd_names_are_read_in_every_format_of_tar(tmp_path, form):
    long = "/".join(["folder" * 8] * 3) + "/" + "n" * 90 if form != tarfile.USTAR_FORMAT else "folder/" + "n" * 90
    names = [f"{long}.png", "größe.PNG", "b\udcff.png", "with.mask.png", "with.png", "with.json"]
    write_tar(tmp_path / "0.tar", [(name, encoded(n, "png")) for n, name in enumerate(names)], format=form)
    stored = WebDataset(str(tmp_path / "0.tar"), size=30)
    assert sources(stored) == [f"0.tar/{long}.png", "0.tar/größe.PNG", "0.tar/b\\xff.png", "0.tar/with.png"]
    assert stored.manifest()["label"].tolist() == [-1] * 4
    batch = stored.read(range(4))
    assert not batch.skipped
    for row, number in enumerate((0, 1, 2, 4)):
        assert np.array_equal(batch.images[row], picture(number)[:, 5:35])


def test_what_is_no_sample_is_no_row(tmp_path):
    files = {"readme": b"x", "__meta__/a.json": b"{}", "._a.jpg": b"x", ".hidden": b"x", "a.png": encoded(1, "png")}
    write_tar(tmp_path / "0.tar", files)
    assert sources(WebDataset(str(tmp_path / "0.tar"), size=16)) == ["0.tar/a.png"]


def test_size_none_takes_the_first_readable_side_and_skips_others(tmp_path):
    files = {"0.png": b"", "1.png": encoded(1, "png", 20, 20), "2.png": encoded(2, "png", 30, 30)}
    stored = WebDataset(str(write_tar(tmp_path / "0.tar", files)))
    batch = stored.read(range(3))
    assert batch.images.shape == (3, 20, 20, 3)
    assert batch.skipped == {0: "empty file", 2: "another size"}
    with pytest.raises(ConfigError, match=r"0\.tar/1\.png@\d+\+\d+ is 40 x 30: images that are not square need a"):
        WebDataset(str(write_tar(tmp_path / "0.tar", {"1.png": encoded(1, "png")}))).read([0])
    with pytest.raises(InputError, match="holds 1 images, and none of them can be decoded"):
        WebDataset(str(write_tar(tmp_path / "bad.tar", {"1.png": b"x"}))).read([0])


@pytest.mark.parametrize(("open_tars", "threads"), [(1, 1), (2, 3), (128, 0)])
def test_rows_are_read_in_any_order_and_each_tar_is_opened_once(tmp_path, monkeypatch, open_tars, threads):
    paths = []

    def opened(path: Path, stack: ExitStack) -> tars.OpenTar:
        paths.append(path.name)
        return tars.OpenTar(path, stack)

    monkeypatch.setattr(webdataset, "OPEN_TARS", open_tars)
    monkeypatch.setattr(webdataset, "OpenTar", opened)
    for shard in range(5):
        write_samples(tmp_path / f"{shard}.tar", *(sample(4 * shard + n, "png") for n in range(4)))
    stored = WebDataset(str(tmp_path / "*.tar"), size=30)
    stored.threads = threads
    rows = [19, 0, 7, 7, 12, 3, 18, 0]
    assert np.array_equal(stored.read(rows).images, [picture(row)[:, 5:35] for row in rows])
    assert paths == ["0.tar", "1.tar", "3.tar", "4.tar"]
    assert stored.read([]).images.shape == (0, 30, 30, 3)
    with pytest.raises(InputError, match=r"rows must be in 0 .. 19, got 20 .. 20"):
        stored.read([20])


# -- what listing costs


class Counting(io.BufferedReader):
    """A file whose reads from the disk are counted, read ahead included."""

    def __init__(self, path: Path, mode: str) -> None:
        assert mode == "rb"
        super().__init__(CountingRaw(path))


class CountingRaw(io.FileIO):
    touched = 0

    def readinto(self, buffer) -> int:
        count = super().readinto(buffer)
        CountingRaw.touched += count
        return count


def test_listing_reads_no_pixels(tmp_path, monkeypatch, words):
    samples = []
    for number in range(10):
        samples.append(sample(number, caption="a tench"))
        samples[-1][f"{number:09d}.jpg"] = bytes(1 << 20)
    path = write_samples(tmp_path / "0.tar", *samples)

    def decoded(*_, **__) -> None:
        raise AssertionError("an image was decoded")

    for module in (decode, folder):
        monkeypatch.setattr(module, "decode", decoded)
    CountingRaw.touched = 0
    monkeypatch.setattr(tar_listing, "open", Counting, raising=False)
    stored = WebDataset(str(path), size=16, caption="caption", tags=words)
    assert stored.manifest()["tag"].tolist() == ["tench"] * 10
    assert 10_000 < CountingRaw.touched < 0.05 * path.stat().st_size


def test_listing_keeps_no_members_in_memory(tmp_path, monkeypatch):
    path = write_samples(tmp_path / "0.tar", *(sample(number) for number in range(5)))
    held, following = [], tarfile.TarFile.next

    def counted(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        held.append(len(tar.members))
        return following(tar)

    monkeypatch.setattr(tarfile.TarFile, "next", counted)
    assert len(WebDataset(str(path), size=16)) == 5
    assert len(held) > 15
    assert max(held) <= 1


@pytest.fixture
def listed(tmp_path):
    """Two tars whose second is missing an image, and where they are described."""
    lonely = {name: data for name, data in sample(2).items() if not name.endswith("jpg")}
    write_samples(tmp_path / "tars/a/0.tar", sample(0, animal="cow"), sample(1, animal="cat"))
    write_samples(tmp_path / "tars/b/0.tar", lonely, sample(3, animal="cow"))
    options = {"kind": "webdataset", "pattern": str(tmp_path / "tars/?/0.tar"), "size": 16, "label": "animal"}
    list_set("web", options, tmp_path / "set.json", tmp_path / "manifest.parquet")
    return options, tmp_path


def test_a_described_set_is_read_without_listing_its_tars(listed, monkeypatch):
    options, folder = listed
    fresh = open_options(options)
    rows, images = rows_of(fresh), fresh.read([3, 0, 1]).images

    def listing(*_: object) -> None:
        raise AssertionError("a tar was listed")

    for name in ("find_tars", "list_tar", "read_tag_list"):
        monkeypatch.setattr(webdataset, name, listing)
    again = open_described(folder / "set.json")
    assert again.class_names == ("cat", "cow")
    assert rows_of(again) == rows
    assert np.array_equal(again.read([3, 0, 1]).images, images)
    assert again.read([2, 3]).skipped == {0: "no image"}


def test_rows_mean_what_was_listed_whatever_comes_and_goes(listed):
    options, folder = listed
    images = open_options(options).read(range(4)).images
    write_samples(folder / "tars/0/0.tar", sample(9))
    (folder / "tars").rename(folder / "moved")
    about = read_json(folder / "set.json")
    about["options"]["pattern"] = str(folder / "moved/?/0.tar")
    write_json(folder / "set.json", about)
    again = open_described(folder / "set.json")
    assert np.array_equal(again.read(range(4)).images, images)
    (folder / "moved/a/0.tar").unlink()
    batch = again.read([3, 1, 0])
    assert batch.skipped == {1: "missing", 2: "missing"}
    assert np.array_equal(batch.images[0], images[3])


@pytest.mark.parametrize("change", ["longer", "shorter"])
def test_a_tar_of_another_size_is_refused_and_others_are_read(listed, change):
    _, folder = listed
    path = folder / "tars/b/0.tar"
    size = path.stat().st_size
    if change == "longer":
        write_samples(path, sample(2), sample(3), sample(4, caption="x" * 20_000))
    else:
        cut(path, size - 512)
    again = open_described(folder / "set.json")
    assert not again.read([0, 1]).skipped
    wanted = (
        rf"image set web: it changed since .* \(b/0\.tar has {path.stat().st_size:,} bytes, and had {size:,}\); del"
    )
    with pytest.raises(FileFault, match=wanted) as caught:
        again.read([0, 3])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "fixed"),
    [
        ("/data/laion/{00000..00099}.tar", "/data/laion"),
        ("laion/*/x/0.tar", "laion"),
        ("/{a,b}/*.tar", "/"),
        ("{a/b,c}/0.tar", ""),
        ("0.tar", ""),
        ("[ab]/0.tar", ""),
    ],
)
def test_the_folders_before_a_wildcard(pattern, fixed):
    assert webdataset._fixed(pattern) == fixed


@pytest.mark.parametrize("pattern", ["*/0.tar", "{a,b}/0.tar", "a/../{a,b}/0.tar"])
def test_relative_patterns_are_opened_again(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        write_samples(tmp_path / f"{name}/0.tar", sample(number, "png"))
    options = {"kind": "webdataset", "pattern": pattern, "size": 30}
    list_set("web", options, tmp_path / "set.json", tmp_path / "manifest.parquet")
    batch = open_described(tmp_path / "set.json").read([1, 0])
    assert not batch.skipped
    assert np.array_equal(batch.images, [picture(number)[:, 5:35] for number in (1, 0)])


def test_the_size_of_images_is_noted(tmp_path):
    write_tar(tmp_path / "0.tar", {"0.png": encoded(0, "png", 20, 20)})
    options = {"kind": "webdataset", "pattern": str(tmp_path / "0.tar")}
    assert list_set("web", options, tmp_path / "set.json", tmp_path / "manifest.parquet")["size"] == 20
    assert open_described(tmp_path / "set.json").read([0]).images.shape == (1, 20, 20, 3)


# -- patterns, and the configuration


def test_braces_and_wildcards_name_tars_in_a_stable_order(tmp_path):
    for number in (0, 1, 2, 9, 10, 11):
        write_samples(tmp_path / f"a/{number:05d}.tar", sample(number))
    write_samples(tmp_path / "b/00000.tar", sample(20))
    (tmp_path / "a/00003.tar").mkdir()

    def listed(pattern: str) -> list[str]:
        return [name.removesuffix(".jpg") for name in sources(WebDataset(str(tmp_path / pattern), size=16))]

    assert listed("a/{00000..00002}.tar") == [f"0000{n}.tar/00000000{n}" for n in range(3)]
    assert listed("a/000{09..11}.tar") == ["00009.tar/000000009", "00010.tar/000000010", "00011.tar/000000011"]
    assert listed("a/0001?.tar") == ["00010.tar/000000010", "00011.tar/000000011"]
    assert listed("a/{00002,00000,00002}.tar") == ["00002.tar/000000002", "00000.tar/000000000"]
    assert listed("{b,a}/0000[01].tar") == [
        "b/00000.tar/000000020", "a/00000.tar/000000000", "a/00001.tar/000000001"
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"a/00003\.tar is missing; allowed: a pattern of tars that are there"):
        listed("a/{00000..00011}.tar")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"pattern": "*.tar"}, InputError, r"/\*\.tar matches no tar; allowed: such as FOLDER/\*\.tar or FOLDER/\{000"),
        ({"pattern": "{0,1.tar"}, ConfigError, "braces do not close"),
        ({"pattern": "{1..9999999}.tar"}, ConfigError, "names too many tars; allowed: at most 1,234"),
        ({"caption": "txt"}, ConfigError, "caption 'txt' names classes by words; allowed: with `tags` only"),
        ({"tags": "imagenet"}, ConfigError, "tags 'imagenet' are of no use alone; allowed: with `caption` or `label`"),
        ({"tags": "no.json", "label": "x"}, InputError, r"tag list no\.json is missing; allowed: imagenet, or the pa"),
        ({"resize": 8}, ConfigError, "resize is the short side"),
    ],
)
def test_options_that_do_not_fit_get_one_line(tmp_path, monkeypatch, options, error, words):
    monkeypatch.setattr(tars, "MAX_TARS", 1234)
    write_samples(tmp_path / "mine/0.tar", sample(0))
    chosen = {"pattern": "mine/0.tar", "size": 16, **options}
    with pytest.raises(error, match=words) as caught:
        WebDataset(**{**chosen, "pattern": str(tmp_path / chosen["pattern"])}).manifest()
    assert "\n" not in str(caught.value)


def test_without_webdataset_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "braceexpand", None)
    with pytest.raises(ConfigError, match=r"image set webdataset: needs webdataset; install the extra `webdataset`"):
        WebDataset(str(tmp_path / "*.tar"), size=16).manifest()


def test_a_configuration_names_tars_below_the_data_folder(tmp_path, words):
    write_samples(tmp_path / "web/00000.tar", sample(0, caption="tench"), sample(1, caption="bridge"))
    web = {"kind": "webdataset", "pattern": "web/{00000..00000}.tar", "size": 16, "caption": "txt", "tags": "fish.json"}
    raw = {**SMALL, "images": {**SMALL["images"], "web": web}, "data": str(tmp_path)}
    jsonschema.validate(raw, json.loads(schema()))
    found = load_config(raw).images["web"]
    assert found.pattern == str(tmp_path / "web/{00000..00000}.tar")
    assert rows_of(open_options(found.model_dump()))[0][2] == "tench"
    shipped = {**web, "tags": "imagenet", "label": None}
    found = load_config({**raw, "images": {**SMALL["images"], "web": shipped}}).images["web"]
    assert (found.tags, found.kinds) == ("imagenet", ["webdataset"])
    wrong = {**SMALL, "images": {**SMALL["images"], "web": {**web, "pattern": ""}}}
    assert message(wrong) == "images.web.pattern: '' is empty; allowed: text"
