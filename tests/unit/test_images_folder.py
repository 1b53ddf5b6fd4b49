"""Image folders: layout, geometry, formats, and one broken file after another."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision import datasets, transforms

from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.images.decode import Undecodable, decode
from nndefense.images.description import list_set, open_described
from nndefense.images.folder import Folder
from nndefense.images.walk import list_images


def photo(width: int = 60, height: int = 48) -> np.ndarray:
    """A smooth picture with detail, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width] / 10.0
    waves = [np.sin(x + 2 * y), np.cos(3 * x - y), np.sin(x * y)]
    return (127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form, **options)
    return stream.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


JPEG = encode(photo(), "JPEG", quality=90)
PNG = encode(photo(), "PNG")


def damaged_scan() -> bytes:
    """A JPEG with zeros in the middle of its scan; Pillow returns a picture for it."""
    data = bytearray(encode(photo(200, 200), "JPEG", quality=95))
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    return bytes(data)


FAULTS = {
    "empty file": b"",
    "not an image": b"<!DOCTYPE html><html><body>404</body></html>",
    "truncated": JPEG[: len(JPEG) // 2],
    "damaged": damaged_scan(),
    "decompression bomb": png_header(30_000, 30_000),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_each_fault_is_named(reason):
    with pytest.raises(Undecodable, match=f"^{reason}$"):
        decode(FAULTS[reason])


def test_the_damaged_scan_is_one_that_pillow_accepts():
    assert Image.open(io.BytesIO(FAULTS["damaged"])).convert("RGB").size == (200, 200)


def test_a_jpeg_bomb_is_refused_by_its_header():
    data = bytearray(JPEG)
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(Undecodable, match="decompression bomb"):
        decode(bytes(data))


def test_a_bomb_just_over_the_limit_is_refused_by_its_header():
    with pytest.raises(Undecodable, match="decompression bomb"):
        decode(PNG, max_pixels=60 * 48 - 1)
    assert decode(PNG, max_pixels=60 * 48).size == (60, 48)


@pytest.mark.parametrize("data", [PNG, JPEG, encode(photo(), "JPEG", progressive=True), encode(photo(), "GIF")])
def test_every_prefix_is_skipped_or_decoded(data):
    """No cut crashes; a cut in the first half never passes as a whole image."""
    for end in range(0, len(data) // 2, 37):
        with pytest.raises(Undecodable):
            decode(data[:end])


def test_random_damage_never_crashes():
    rng = np.random.default_rng(0)
    outcomes = set()
    for trial in range(150):
        data = bytearray((PNG, JPEG, encode(photo(), "TIFF"))[trial % 3])
        for place in rng.integers(0, len(data), 5):
            data[place] = rng.integers(256)
        try:
            assert decode(bytes(data)).mode == "RGB"
            outcomes.add("decoded")
        except Undecodable as reason:
            outcomes.add(str(reason))
    assert "damaged" in outcomes


def test_sixteen_bits_are_scaled():
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = pixels(encode(Image.fromarray(levels), "PNG"))
    assert np.array_equal(image, np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1))


def test_grey_is_repeated():
    grey = photo()[..., 0]
    assert np.array_equal(pixels(encode(grey, "PNG")), np.repeat(grey[..., None], 3, axis=-1))
    assert np.ptp(pixels(encode(grey, "JPEG")).astype(int), axis=-1).max() == 0


def test_alpha_is_laid_on_white():
    layer = np.dstack([photo(), np.full((48, 60), 64, np.uint8)])
    expected = np.round((photo() * 64.0 + 255.0 * 191.0) / 255.0)
    assert np.abs(pixels(encode(layer, "PNG")) - expected).max() <= 1
    grey = Image.fromarray(layer).convert("LA")
    assert pixels(encode(grey, "PNG")).min() >= 190


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(photo()).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    opaque = np.asarray(palette.convert("RGB"))
    assert np.array_equal(pixels(encode(palette, "PNG")), opaque)
    hidden = np.asarray(palette) == 3
    image = pixels(encode(palette, "PNG", transparency=3))
    assert hidden.any()
    assert np.all(image[hidden] == 255)
    assert np.array_equal(image[~hidden], opaque[~hidden])


def test_cmyk_keeps_the_colours():
    inks = Image.fromarray(photo()).convert("CMYK")
    assert np.abs(pixels(encode(inks, "JPEG", quality=100)).astype(int) - photo()).mean() < 6


def test_damaged_cmyk_is_found():
    data = bytearray(encode(Image.fromarray(photo(200, 200)).convert("CMYK"), "JPEG", quality=95))
    data[len(data) // 2 : len(data) // 2 + 300] = np.random.default_rng(0).bytes(300)
    with pytest.raises(Undecodable, match="damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(), form, exif=exif, **({"quality": 100} if form == "JPEG" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.abs(pixels(data).astype(int) - expected).max() <= 1
    assert pixels(data).shape[0] == (60 if orientation > 4 else 48)


def write(root: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return str(root)


def test_rows_keep_their_ids_when_images_are_skipped(tmp_path):
    files = {f"dog/{i}.jpg": data for i, data in enumerate(FAULTS.values())}
    root = write(tmp_path, {"cat/a.jpg": JPEG, **files, "dog/z.png": PNG})
    images = Folder(root, size=32)
    batch = images.read(range(len(images)))
    assert batch.skipped == {position + 1: reason for position, reason in enumerate(FAULTS)}
    assert not batch.images[1:6].any()
    assert np.array_equal(batch.images[[0, 6]], images.read([0, 6]).images)
    assert images.read([6, 2, 0]).skipped == {1: "not an image"}


def test_a_file_that_went_away_is_skipped(tmp_path):
    images = Folder(write(tmp_path, {"a/1.png": PNG, "a/2.png": PNG}), size=8)
    assert len(images) == 2
    (tmp_path / "a/1.png").unlink()
    assert images.read([0, 1]).skipped == {0: "missing"}


def test_order_and_labels_are_those_of_torchvision(tmp_path):
    names = ["b/2.png", "b/10.png", "a/x/1.png", "a/1.png", "a/y.png", "c/deep/er/1.png"]
    root = write(tmp_path, dict.fromkeys(names, PNG) | {"c/notes.txt": b"x"})
    theirs = datasets.ImageFolder(root)
    ours = Folder(root, size=8)
    manifest = ours.manifest()
    assert [str(tmp_path / name) for name in manifest["source"]] == [path for path, _ in theirs.samples]
    assert manifest["label"].tolist() == theirs.targets
    assert list(ours.class_names) == theirs.classes
    assert manifest["tag"].tolist() == [ours.class_names[label] for label in theirs.targets]


def test_hidden_files_and_folders_are_not_listed(tmp_path):
    root = write(tmp_path, {"a/1.png": PNG, "a/._1.png": b"", ".cache/1.png": PNG, "a/.old/1.png": PNG})
    images = Folder(root, size=8)
    assert images.manifest()["source"].tolist() == ["a/1.png"]
    assert images.class_names == ("a",)


def test_flat_folder_has_no_labels(tmp_path):
    manifest = Folder(write(tmp_path, {"1.png": PNG, "2.jpg": JPEG}), size=8).manifest()
    assert manifest["label"].tolist() == [-1, -1]
    assert manifest["tag"].tolist() == ["", ""]


def test_classes_map_folders_to_the_labels_of_a_classifier(tmp_path):
    root = write(tmp_path, {f"{name}/1.png": PNG for name in ("n01440764", "n02102040", "other")})
    images = Folder(root, size=8, classes={"n01440764": 0, "n02102040": 217})
    assert images.manifest()["label"].tolist() == [0, 217, -1]
    assert images.class_names[217] == "n02102040"
    assert images.class_names[5] == "class 5"
    assert len(images.class_names) == 218
    with pytest.raises(ConfigError, match=r"names 'cat'.*n01440764, n02102040, other"):
        Folder(root, size=8, classes={"cat": 0}).manifest()
    with pytest.raises(ConfigError, match="labels start at 0"):
        Folder(root, size=8, classes={"other": -2}).manifest()


@pytest.mark.parametrize(("width", "height"), [(60, 48), (48, 60), (31, 97), (33, 32), (20, 20)])
@pytest.mark.parametrize(("size", "resize"), [(32, None), (28, 32), (31, 40)])
def test_geometry_is_that_of_torchvision(tmp_path, width, height, size, resize):
    image = photo(width, height)
    ours = Folder(write(tmp_path, {"a/1.png": encode(image, "PNG")}), size=size, resize=resize).read([0]).images[0]
    steps = transforms.Compose([transforms.Resize(resize or size), transforms.CenterCrop(size)])
    assert np.array_equal(ours, np.asarray(steps(Image.fromarray(image))))


def test_crop_none_keeps_the_whole_image(tmp_path):
    root = write(tmp_path, {"a/1.png": PNG})
    ours = Folder(root, size=32, crop="none").read([0]).images[0]
    assert np.array_equal(ours, np.asarray(transforms.Resize((32, 32))(Image.fromarray(photo()))))


def test_size_none_takes_the_first_readable_size_and_skips_others(tmp_path):
    files = {"0.jpg": b"", "1.png": encode(photo(20, 20), "PNG"), "2.png": PNG}
    images = Folder(write(tmp_path, files), size=None)
    batch = images.read(range(3))
    assert batch.images.shape == (3, 20, 20, 3)
    assert batch.skipped == {0: "empty file", 2: "another size"}
    assert np.array_equal(batch.images[1], photo(20, 20))


def test_size_none_needs_a_readable_square_image(tmp_path):
    with pytest.raises(ConfigError, match=r"60 x 48.*need a size"):
        Folder(write(tmp_path / "wide", {"1.png": PNG}), size=None).read([0])
    with pytest.raises(InputError, match="holds 1 images, and none of them can be decoded"):
        Folder(write(tmp_path / "bad", {"1.png": b""}), size=None).read([0])


def test_threads_do_not_change_the_result(tmp_path):
    root = write(tmp_path, {f"{i}.png": encode(photo(20 + i, 30), "PNG") for i in range(12)})
    one, many = Folder(root, size=16), Folder(root, size=16)
    one.threads, many.threads = 1, 6
    assert np.array_equal(one.read(range(12)).images, many.read(range(12)).images)


def test_missing_and_empty_roots_say_what_is_expected(tmp_path):
    with pytest.raises(InputError, match=r"not a folder; expected images there, as .*/<class>/<name>\.jpg"):
        Folder(str(tmp_path / "absent"), size=8)
    with pytest.raises(InputError, match=r"holds no image; expected .*/<class>/<name>\.jpg"):
        Folder(write(tmp_path, {"a/readme.txt": b"x"}), size=8).manifest()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"size": 8, "crop": "left"}, "crop must be center or none"),
        ({"size": 8, "resize": 7}, "at least size"),
        ({"size": None, "resize": 7}, "resize is the short side"),
        ({"size": 8, "resize": 9, "crop": "none"}, "resize is the short side"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        Folder(write(tmp_path, {"1.png": PNG}), **options)


# -- as it was listed


def test_the_order_is_that_of_whole_paths_within_a_class(tmp_path):
    names = ["zz/x/z/1.png", "zz/x-y/1.png", "zz/x/1.png", "zz/2.png", "Z/1.png", "a b/1.png", "a-b/1.png", "a/1.png"]
    root = write(tmp_path, dict.fromkeys([*names, "top.png", "é/1.JPG"], PNG))
    listed = [path.relative_to(tmp_path).as_posix() for path in list_images(Path(root))[0]]
    assert listed == [
        "top.png", "Z/1.png", "a/1.png", "a b/1.png", "a-b/1.png",
        "zz/2.png", "zz/x/1.png", "zz/x-y/1.png", "zz/x/z/1.png", "é/1.JPG",
    ]  # fmt: skip


def described(tmp_path: Path, **options) -> Path:
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    list_set("mine", {"kind": "folder", "root": str(tmp_path / "set"), **options}, *files)
    return files[0]


def test_rows_mean_what_was_listed_whatever_comes_and_goes(tmp_path, monkeypatch):
    shades = {f"{name}.png": encode(np.full((20, 20, 3), n, np.uint8), "PNG") for n, name in enumerate("bdf")}
    root = tmp_path / "set"
    write(root / "k", shades)
    place = described(tmp_path)
    write(root / "k", {"a.png": PNG, "c.png": PNG})
    write(root / "a", {"1.png": PNG})
    (root / "k/d.png").unlink()
    monkeypatch.setattr("nndefense.images.folder.walk_images", None)
    images = open_described(place)
    assert images.manifest()["source"].tolist() == ["k/b.png", "k/d.png", "k/f.png"]
    assert (images.size, images.class_names) == (20, ("k",))
    batch = images.read([2, 1, 0])
    assert batch.skipped == {1: "missing"}
    assert batch.images[:, 0, 0, 0].tolist() == [2, 0, 0]
    with pytest.raises(InputError, match=r"rows must be in 0 .. 2, got 3 .. 3"):
        images.read([3])


def test_a_damaged_manifest_is_noticed_where_its_rows_are_read(tmp_path):
    write(tmp_path / "set", {"k/one.png": PNG, "k/two.png": PNG})
    place, manifest = described(tmp_path, size=16), tmp_path / "manifest.parquet"
    content = manifest.read_bytes()
    records = content.rindex(b"k/two.png\0\0")
    manifest.write_bytes(content[:records] + b"k/one.png" + content[records + 9 :])
    images = open_described(place)
    assert not images.read([0]).skipped
    with pytest.raises(FileFault, match=r"manifest\.parquet: has a wrong checksum at row 1"):
        images.read([1])


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_a_listing_does_not_depend_on_its_blocks(tmp_path, monkeypatch, rows):
    write(tmp_path / "set", dict.fromkeys(["loose.png", *(f"k{n % 3}/{n}.png" for n in range(7))], PNG))
    before = json.loads(described(tmp_path, size=16).read_text())
    images = open_described(tmp_path / "set.json").read(range(8)).images
    monkeypatch.setattr("nndefense.images.folder.ROWS", rows)
    assert len(list(Folder(str(tmp_path / "set"), size=16).list_rows())) == -(-8 // rows)
    monkeypatch.setattr("nndefense.core.tables.ROWS", rows)
    assert json.loads(described(tmp_path, size=16).read_text()) == before
    assert np.array_equal(open_described(tmp_path / "set.json").read(range(8)).images, images)


def test_a_name_that_is_not_utf_8_gets_one_line(tmp_path):
    write(tmp_path / "set", {"k/1.png": PNG})
    with open(os.fsencode(tmp_path / "set/k") + b"/\xff.png", "wb") as stream:
        stream.write(PNG)
    with pytest.raises(InputError, match=r"the name 'k/\\udcff\.png' is not UTF-8; allowed: files whose names are"):
        described(tmp_path, size=16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
