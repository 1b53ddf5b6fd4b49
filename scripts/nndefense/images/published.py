"""Data sets that torchvision reads: side of their images, and images of each split; imports no torchvision."""

PUBLISHED: dict[str, tuple[int | None, dict[str, int]]] = {
    "CIFAR10": (32, {"train": 50_000, "test": 10_000}),
    "CIFAR100": (32, {"train": 50_000, "test": 10_000}),
    "SVHN": (32, {"train": 73_257, "test": 26_032, "extra": 531_131}),
    "FashionMNIST": (28, {"train": 60_000, "test": 10_000}),
    "ImageNet": (None, {"train": 1_281_167, "val": 50_000}),
}
