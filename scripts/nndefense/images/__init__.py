"""Image sets: where images come from. Adding a kind: a file here and a line in KINDS."""

from nndefense.core.plugins import plugins
from nndefense.core.registry import Entry

KINDS = {
    "shapes": Entry("nndefense.images.shapes:Shapes", "synthetic images"),
    "folder": Entry("nndefense.images.folder:Folder", "image files"),
    "torchvision": Entry("nndefense.images.torchvision_set:TorchvisionSet", "a set that torchvision publishes"),
    "cub200": Entry("nndefense.images.cub200:Cub200", "CUB-200-2011"),
    "cars196": Entry("nndefense.images.cars196:Cars196", "Stanford Cars"),
    "online_products": Entry("nndefense.images.online_products:OnlineProducts", "Stanford Online Products"),
    "webdataset": Entry("nndefense.images.webdataset:WebDataset", "images in tars"),
    "classes_of": Entry("nndefense.images.classes_of:ClassesOf", "some classes of a set"),
}
KINDS |= plugins("images", KINDS)
