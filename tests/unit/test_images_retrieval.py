"""Image sets of retrieval benchmarks, from small files in each publisher's format."""

import ntpath
import posixpath
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from nndefense.core.errors import ConfigError, InputError
from nndefense.images.cars196 import Cars196
from nndefense.images.cub200 import Cub200
from nndefense.images.description import list_set, open_described
from nndefense.images.folder import Folder
from nndefense.images.listed import Listing, in_part, inside
from nndefense.images.online_products import OnlineProducts
from tests.unit.image_cases import (
    CARS,
    CLASSES,
    FIRST,
    LAST,
    cells,
    put,
    rows_of,
    struct,
    write_birds,
    write_cars,
    write_devkit,
    write_products,
)


@pytest.fixture
def birds(tmp_path):
    return write_birds(tmp_path / "CUB_200_2011")


# -- CUB-200-2011

BIRD_ROWS = {
    **{"all": [0, 1, 2, 3, 4, 5], "train": [1, 2, 4], "test": [0, 3, 5]},
    **{"first_classes": [0, 1, 2], "last_classes": [3, 4, 5]},
}


def test_cub_lists(birds):
    images = Cub200(str(birds), 16)
    first = "images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"
    assert rows_of(images)[0] == (first, 0, "Black footed Albatross")
    assert images.class_names == ("Black footed Albatross", "Laysan Albatross", "Sooty Albatross", "Groove billed Ani")
    assert [label for _, label, _ in rows_of(images)] == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize("part", BIRD_ROWS)
def test_cub_parts_keep_the_labels_of_the_whole_set(birds, part):
    images, whole, chosen = Cub200(str(birds), 16, part), Cub200(str(birds), 16), BIRD_ROWS[part]
    assert rows_of(images) == [rows_of(whole)[row] for row in chosen]
    assert images.class_names == whole.class_names
    assert np.array_equal(images.read(range(len(images))).images, whole.read(chosen).images)


def test_cub_lists_are_matched_by_number_not_by_line(birds):
    before = {part: rows_of(Cub200(str(birds), 16, part)) for part in ("all", "train", "first_classes")}
    for name in ("image_class_labels.txt", "train_test_split.txt", "classes.txt"):
        lines = (birds / name).read_text().splitlines()
        (birds / name).write_text("\r\n".join(lines[::-1]) + "\n\n")
    assert {part: rows_of(Cub200(str(birds), 16, part)) for part in before} == before


@pytest.mark.parametrize("options", [{}, {"resize": 24}, {"crop": "none"}])
def test_pixels_are_those_of_the_same_files_in_a_folder(birds, options):
    ours, theirs = Cub200(str(birds), 16, **options), Folder(str(birds / "images"), 16, **options)
    places = [f"images/{source}" for source in theirs.manifest()["source"]]
    assert sorted(places) == sorted(source for source, _, _ in rows_of(ours))
    chosen = [[source for source, _, _ in rows_of(ours)].index(place) for place in places]
    assert np.array_equal(ours.read(chosen).images, theirs.read(range(len(theirs))).images)


def test_a_listed_file_that_is_absent_keeps_its_row_and_is_skipped(birds):
    whole = Cub200(str(birds), 16).read(range(6)).images
    paths = [birds / source for source, _, _ in rows_of(Cub200(str(birds), 16))]
    paths[1].unlink()
    paths[3].write_bytes(b"<html>404</html>")
    paths[4].unlink()
    paths[4].mkdir()
    images = Cub200(str(birds), 16)
    batch = images.read(range(6))
    assert len(images) == 6
    assert batch.skipped == {1: "missing", 3: "not an image", 4: "not a file"}
    assert np.array_equal(batch.images[[0, 2, 5]], whole[[0, 2, 5]])
    assert images.read([5, 1]).skipped == {1: "missing"}
    with pytest.raises(InputError, match=r"rows must be in 0 .. 5"):
        images.read([6])


@pytest.mark.parametrize("name", ["images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt"])
def test_a_missing_or_damaged_list_says_what_belongs_there(birds, name):
    (birds / name).write_bytes(b"\xff\xfe1 \xff\n")
    with pytest.raises(InputError, match=rf"{name} is damaged or unreadable \(.*CUB_200_2011\.tgz") as caught:
        Cub200(str(birds), 16).manifest()
    assert "\n" not in str(caught.value)
    (birds / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing; root must be the folder CUB_200_2011 that CUB.*tgz"):
        Cub200(str(birds), 16).manifest()


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("images.txt", "7", r"images.txt, line 7: '7'; allowed: NUMBER TEXT"),
        ("images.txt", "seven x.jpg", "line 7: 'seven x.jpg'; allowed: NUMBER TEXT"),
        ("images.txt", "1 001.Black_footed_Albatross/1.jpg", "7 lines, but only 6 numbers; allowed: each number once"),
        ("images.txt", "7 001.Black_footed_Albatross/1.jpg", "do not list the same images: only one .* has number 7"),
        ("image_class_labels.txt", "7 1", "image_class_labels.txt and images.txt do not list the same images"),
        ("train_test_split.txt", "7 1 1", "train_test_split.txt, line 7: '7 1 1'; allowed: NUMBER NUMBER"),
        ("classes.txt", "9 009.Brewer_Blackbird", "classes.txt: its numbers are not 1 to 5"),
    ],
)
def test_lists_that_do_not_fit_are_refused(birds, name, line, words):
    with (birds / name).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=words) as caught:
        Cub200(str(birds), 16).manifest()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [0, 5, -1, 10**30])
def test_a_class_that_no_list_names_is_refused(birds, number):
    text = (birds / "image_class_labels.txt").read_text().replace("\n6 4\n", f"\n6 {number}\n")
    (birds / "image_class_labels.txt").write_text(text)
    with pytest.raises(InputError, match=rf"image_class_labels.txt names class {number}; allowed: 1 to 4"):
        Cub200(str(birds), 16).manifest()


def test_a_described_part_needs_its_lists_no_more(birds, tmp_path):
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    options = {"kind": "cub200", "root": str(birds), "size": 16, "part": "test"}
    list_set("birds", options, *files)
    before = Cub200(str(birds), 16, "test")
    rows, images = rows_of(before), before.read([2, 0]).images
    for path in birds.glob("*.txt"):
        path.unlink()
    again = open_described(files[0])
    assert rows_of(again) == rows
    assert again.class_names == before.class_names
    assert np.array_equal(again.read([2, 0]).images, images)


# -- paths are data

ABOVE = ["../x.jpg", "a/../../x.jpg", "a\\..\\..\\x.jpg", ".."]
ABSOLUTE = ["/etc/passwd", "C:\\x.jpg", "C:x.jpg", "\\\\host\\x", "\\x.jpg"]
REFUSED = r'list.txt names the file .*; allowed: paths below its folder, without "\.\."'


@pytest.mark.parametrize("path", [*ABOVE, *ABSOLUTE, "", ".", "a/\0.jpg"])
def test_paths_that_lead_out_of_the_folder_are_refused(path):
    with pytest.raises(InputError, match=REFUSED):
        inside(path, Path("list.txt"))


@pytest.mark.parametrize("path", ["a.jpg", "a/b c.jpg", "..a/b..jpg", "./a.jpg", "a//b.jpg"])
def test_paths_below_the_folder_are_kept_as_they_are(path):
    assert inside(path, Path("list.txt")) == path


@given(st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "C:", "~", " ", "b.jpg", "//"]), max_size=7).map("".join))
def test_no_accepted_path_leaves_the_folder(path):
    try:
        inside(path, Path("list.txt"))
    except InputError:
        return
    for system, root in ((posixpath, "/data/set"), (ntpath, "D:\\data\\set")):
        place = system.normpath(system.join(root, path))
        assert place.startswith(root + system.sep)


def test_lists_with_such_paths_are_refused(birds, tmp_path):
    text = (birds / "images.txt").read_text()
    (birds / "images.txt").write_text(text.replace("003.Sooty_Albatross/", "../../"))
    with pytest.raises(InputError, match=r"images.txt names the file '\.\./\.\./Sooty"):
        Cub200(str(birds), 16).manifest()
    write_cars(tmp_path / "cars", paths=["car_ims/1.jpg", "/etc/2.jpg", "car_ims/3.jpg", "car_ims/4.jpg"])
    with pytest.raises(InputError, match=r"cars_annos.mat names the file '/etc/2.jpg'"):
        Cars196(str(tmp_path / "cars"), 16).manifest()
    write_products(tmp_path / "products", last=[(7, 5, 2, "../chair_final/1_0.JPG")])
    with pytest.raises(InputError, match=r"Ebay_test.txt names the file '\.\./chair"):
        OnlineProducts(str(tmp_path / "products"), 16).manifest()


# -- Stanford Cars

CAR_ROWS = {"all": [0, 1, 2, 3], "train": [0, 2], "test": [1, 3], "first_classes": [0], "last_classes": [1, 2, 3]}


@pytest.mark.parametrize("part", CAR_ROWS)
def test_cars_in_one_folder(tmp_path, part):
    images, chosen = Cars196(str(write_cars(tmp_path)), 16, part), CAR_ROWS[part]
    expected = [(f"car_ims/{row + 1:06}.jpg", CLASSES[row] - 1, CARS[CLASSES[row] - 1]) for row in chosen]
    assert rows_of(images) == expected
    assert images.class_names == tuple(CARS)
    for row in chosen[1:]:
        put(tmp_path / f"car_ims/{row + 1:06}.jpg", 60 * row)
    batch = images.read(range(len(chosen)))
    assert batch.skipped == {0: "missing"}
    assert all(abs(int(one.min()) - 60 * row) < 25 for one, row in zip(batch.images[1:], chosen[1:], strict=True))


@pytest.mark.parametrize("test_list", ["cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"])
def test_cars_with_the_development_kit(tmp_path, test_list):
    root = str(write_devkit(tmp_path, test_list))
    train = [("cars_train/00001.jpg", 0, CARS[0]), ("cars_train/00002.jpg", 1, CARS[1])]
    test = [("cars_test/00001.jpg", 1, CARS[1]), ("cars_test/00002.jpg", 2, CARS[2])]
    parts = {"train": train, "test": test, "all": train + test}
    parts |= {"first_classes": train[:1], "last_classes": [train[1], *test]}
    assert {part: rows_of(Cars196(root, 16, part)) for part in parts} == parts
    assert Cars196(root, 16, "first_classes").class_names == tuple(CARS)
    write_cars(tmp_path)
    assert rows_of(Cars196(root, 16))[0][0] == "car_ims/000001.jpg"


def test_cars_to_train_on_need_no_list_of_the_test(tmp_path):
    root = write_devkit(tmp_path)
    (root / "cars_test_annos_withlabels.mat").unlink()
    assert len(Cars196(str(root), 16, "train")) == 2
    for part in ("test", "all", "last_classes"):
        with pytest.raises(InputError, match=r"cars_test_annos_withlabels.mat is missing; root must hold either"):
            Cars196(str(root), 16, part).manifest()


def test_one_car(tmp_path):
    root = str(write_cars(tmp_path, classes=[1], test=[1], names=CARS[:1]))
    assert rows_of(Cars196(root, 16, "test")) == [("car_ims/000001.jpg", 0, CARS[0])]
    with pytest.raises(InputError, match="its lists name no image in this part"):
        Cars196(root, 16, "train").manifest()


def test_a_damaged_list_of_cars_is_one_line(tmp_path):
    whole = (write_cars(tmp_path) / "cars_annos.mat").read_bytes()
    for content in (b"", b"<html>404</html>" * 20, whole[: len(whole) // 2], whole[:300]):
        (tmp_path / "cars_annos.mat").write_bytes(content)
        with pytest.raises(InputError, match=r"cars_annos.mat (is damaged or unreadable|has no variable)") as caught:
            Cars196(str(tmp_path), 16).manifest()
        assert "\n" not in str(caught.value)
        assert "car_ims.tgz" in str(caught.value)
    (tmp_path / "cars_annos.mat").unlink()
    with pytest.raises(InputError, match=r"cars_annos.mat is missing; root must hold either cars_annos.mat and the"):
        Cars196(str(tmp_path), 16).manifest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"annotations": np.arange(3)}, "no field 'relative_im_path'"),
        ({"annotations": struct(relative_im_path=["a.jpg"], test=[1])}, "no field 'class'"),
        ({"annotations": struct(relative_im_path=[7], **{"class": [1], "test": [1]})}, "_im_path must be texts"),
        ({"annotations": struct(relative_im_path=["a"], **{"class": ["x"], "test": [1]})}, "class must be numbers"),
        ({"annotations": struct(relative_im_path=["a"], **{"class": [4], "test": [1]})}, "class 4; allowed: 1 to 3"),
        ({"annotations": struct(relative_im_path=["a"], **{"class": [0], "test": [1]})}, "class 0; allowed: 1 to 3"),
        ({"class_names": np.arange(3)}, "class_names must be texts"),
    ],
)
def test_another_content_of_the_list_of_cars_is_refused(tmp_path, content, words):
    good = {"annotations": struct(relative_im_path=["a"], **{"class": [1], "test": [1]}), "class_names": cells(CARS)}
    savemat(tmp_path / "cars_annos.mat", {**good, **content})
    with pytest.raises(InputError, match=rf"cars_annos.mat.*{words}"):
        Cars196(str(tmp_path), 16).manifest()


# -- Stanford Online Products


PRODUCT_ROWS = {"all": range(6), "first_classes": range(4), "last_classes": range(4, 6)}


@pytest.mark.parametrize("part", PRODUCT_ROWS)
def test_online_products(tmp_path, part):
    chosen = PRODUCT_ROWS[part]
    root = str(write_products(tmp_path))
    paths = [row[3] for row in FIRST + LAST]
    names = ("bicycle 1", "coffee maker 2", "bicycle 10", "coffee maker 11", "toaster 12")
    labels = [0, 0, 1, 2, 3, 4]
    products = OnlineProducts(root, 16, part)
    assert rows_of(products) == [(paths[row], labels[row], names[labels[row]]) for row in chosen]
    assert products.class_names == names
    kinds, sorts = ("bicycle", "coffee maker", "toaster"), [0, 0, 1, 0, 1, 2]
    categories = OnlineProducts(root, 16, part, "category")
    assert rows_of(categories) == [(paths[row], sorts[row], kinds[sorts[row]]) for row in chosen]
    assert categories.class_names == kinds
    put(tmp_path / paths[chosen[1]], 90)
    assert sorted(products.read(range(len(products))).skipped) == [row for row in range(len(chosen)) if row != 1]


def test_lists_of_products_are_checked(tmp_path):
    with pytest.raises(InputError, match=r"Ebay_train.txt is missing; root must be the folder Stanford_Online_Prod"):
        OnlineProducts(str(tmp_path / "absent"), 16).manifest()
    root = str(write_products(tmp_path, header=""))
    with pytest.raises(InputError, match=r"Ebay_train.txt: the first line is '1 1 1 bicycle.*; allowed: 'image_id"):
        OnlineProducts(root, 16).manifest()
    write_products(tmp_path, last=[(5, "x", 4, "a.JPG")])
    with pytest.raises(InputError, match=r"Ebay_test.txt, line 2: '5 x 4 a.JPG'; allowed: NUMBER NUMBER NUMBER TEXT"):
        OnlineProducts(root, 16).manifest()
    write_products(tmp_path, first=[])
    assert len(OnlineProducts(root, 16)) == 2
    write_products(tmp_path, first=[], last=[])
    with pytest.raises(InputError, match="its lists name no image in this part"):
        OnlineProducts(root, 16).manifest()


# -- all of them


@pytest.mark.parametrize("kind", [Cub200, Cars196, OnlineProducts])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"size": 16, "crop": "left"}, "crop must be center or none"),
        ({"size": 16, "resize": 15}, "at least size"),
        ({"size": 16, "part": "half"}, "no part 'half'; allowed: all, "),
    ],
)
def test_options_out_of_range_are_refused_before_lists_are_read(kind, options, words):
    with pytest.raises(ConfigError, match=words):
        kind("absent", **options)


def test_options_of_online_products_alone():
    with pytest.raises(ConfigError, match="no part 'train'; allowed: all, first_classes, last_classes"):
        OnlineProducts("absent", 16, "train")
    with pytest.raises(ConfigError, match="no label 'colour'; allowed: product, category"):
        OnlineProducts("absent", 16, label="colour")


@given(st.integers(1, 9), st.data())
def test_two_parts_make_the_whole_and_halves_share_no_class(classes, data):
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), max_size=12)), dtype=np.int64)
    train = np.array(data.draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels))), dtype=bool)
    listing = Listing([str(row) for row in range(len(labels))], labels, tuple(map(str, range(classes))))
    parts = {part: in_part(part, listing, train) for part in ("train", "test", "first_classes", "last_classes", "all")}
    assert parts["all"].all()
    assert np.array_equal(parts["train"], train)
    for one, other in (("train", "test"), ("first_classes", "last_classes")):
        assert (parts[one] ^ parts[other]).all()
    assert set(labels[parts["first_classes"]]) == {label for label in labels if label < classes // 2}
