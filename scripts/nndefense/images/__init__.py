"""Image sets: where images come from. Adding a kind: a file here and a line in KINDS."""

from nndefense.core.registry import Entry

KINDS = {
    "shapes": Entry("nndefense.images.shapes:Shapes", "drawn images"),
    "folder": Entry("nndefense.images.folder:Folder", "image files"),
    "torchvision": Entry("nndefense.images.torchvision_set:TorchvisionSet", "a set that torchvision publishes"),
}
