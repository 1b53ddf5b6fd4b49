"""Small files in the formats that retrieval benchmarks are published in."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def put(path: Path, shade: int, width: int = 40, height: int = 30) -> None:
    """A JPEG that its shade tells apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    ramp = np.linspace(0, 40, width, dtype=np.uint8)[None, :, None]
    pixels = np.broadcast_to(ramp + np.uint8(shade), (height, width, 3))
    Image.fromarray(pixels.copy()).save(stream, "JPEG")
    path.write_bytes(stream.getvalue())


def rows_of(images) -> list[tuple[str, int, str]]:
    columns = images.manifest()
    assert len(images) == len(columns["source"])
    return [(str(s), int(k), str(t)) for s, k, t in zip(*(columns[k] for k in ("source", "label", "tag")), strict=True)]


# -- CUB-200-2011

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani")
# Number, folder, file, training.
SEEN = [
    (1, 0, "Black_Footed_Albatross_0046_18.jpg", 0),
    (2, 0, "Black_Footed_Albatross_0009_34.jpg", 1),
    (3, 1, "Laysan_Albatross_0002_1027.jpg", 1),
    (4, 2, "Sooty_Albatross_0043_796340.jpg", 0),
    (5, 3, "Groove_Billed_Ani_0111_1490.jpg", 1),
    (6, 3, "Groove_Billed_Ani_0025_1724.jpg", 0),
]


def write_birds(root: Path) -> Path:
    for number, bird, file, _ in SEEN:
        put(root / "images" / BIRDS[bird] / file, 30 * number)
    (root / "classes.txt").write_text("".join(f"{place} {name}\n" for place, name in enumerate(BIRDS, 1)))
    (root / "images.txt").write_text("".join(f"{n} {BIRDS[bird]}/{file}\n" for n, bird, file, _ in SEEN))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {bird + 1}\n" for n, bird, _, _ in SEEN))
    (root / "train_test_split.txt").write_text("".join(f"{n} {train}\n" for n, _, _, train in SEEN))
    return root


# -- Stanford Cars

CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]
CLASSES, TEST = [1, 2, 2, 3], [0, 1, 0, 1]
BOXES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def struct(**columns) -> np.ndarray:
    """A MATLAB struct array, 1 x n; its numbers are 1 x 1 arrays as in the published files."""
    count = len(next(iter(columns.values())))
    made = np.zeros((1, count), dtype=[(name, object) for name in columns])
    for name, values in columns.items():
        for place, value in enumerate(values):
            made[0, place][name] = value if isinstance(value, str) else np.array([[value]], dtype=np.uint8)
    return made


def cells(names: list[str]) -> np.ndarray:
    made = np.empty((1, len(names)), dtype=object)
    made[0, :] = names
    return made


def write_cars(root: Path, paths=None, classes=CLASSES, test=TEST, names=CARS) -> Path:
    paths = paths or [f"car_ims/{place:06}.jpg" for place in range(1, len(classes) + 1)]
    root.mkdir(parents=True, exist_ok=True)
    boxes = {name: [9] * len(classes) for name in BOXES}
    annotations = struct(relative_im_path=paths, **boxes, **{"class": classes, "test": test})
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": cells(names)})
    return root


def write_devkit(root: Path, test_list: str = "cars_test_annos_withlabels.mat") -> Path:
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit/cars_meta.mat", {"class_names": cells(CARS)})
    for name, chosen in (("devkit/cars_train_annos.mat", 0), (test_list, 1)):
        classes = [number for number, test in zip(CLASSES, TEST, strict=True) if test == chosen]
        files = [f"{place:05}.jpg" for place in range(1, len(classes) + 1)]
        boxes = {name: [9] * len(classes) for name in BOXES}
        savemat(root / name, {"annotations": struct(**boxes, **{"class": classes}, fname=files)})
    return root


# -- Stanford Online Products

HEADER = "image_id class_id super_class_id path\n"
FIRST = [
    (1, 1, 1, "bicycle_final/111085122871_0.JPG"),
    (2, 1, 1, "bicycle_final/111085122871_1.JPG"),
    (3, 2, 4, "coffee_maker_final/111265328556_0.JPG"),
    (4, 10, 1, "bicycle_final/141218144440_0.JPG"),
]
LAST = [(5, 11, 4, "coffee_maker_final/221501012345_0.JPG"), (6, 12, 12, "toaster_final/360870516155_0.JPG")]


def write_products(root: Path, first=FIRST, last=LAST, header=HEADER) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in (("Ebay_train.txt", first), ("Ebay_test.txt", last)):
        (root / name).write_text(header + "".join(" ".join(map(str, row)) + "\n" for row in rows))
    return root
