"""Image sets: where images come from. A set is one module and one line here: name -> "module:Class"."""

KINDS = {
    "shapes": "nndefense.images.shapes:Shapes",
    "folder": "nndefense.images.folder:Folder",
    "torchvision": "nndefense.images.torchvision_set:TorchvisionSet",
}
