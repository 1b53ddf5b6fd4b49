"""Classifiers h(x): networks, weights, training, prediction.

`ARCHITECTURES` maps an architecture name to its builder `(architecture, classes, weights, **options) -> nn.Module`.
`{depth}` stands for a number, `{name}` for a name in a library. `nndefense.models.build.build_model` resolves them.
"""

from nndefense.core.plugins import plugin_targets

ARCHITECTURES = {
    "cifar_resnet{depth}": "nndefense.models.cifar_resnet:build",
    "resnet18": "nndefense.models.torchvision_nets:build",
    "resnet34": "nndefense.models.torchvision_nets:build",
    "resnet50": "nndefense.models.torchvision_nets:build",
    "resnet101": "nndefense.models.torchvision_nets:build",
    "resnet152": "nndefense.models.torchvision_nets:build",
    "wide_resnet50_2": "nndefense.models.torchvision_nets:build",
    "wide_resnet101_2": "nndefense.models.torchvision_nets:build",
    "resnext50_32x4d": "nndefense.models.torchvision_nets:build",
    "resnext101_32x8d": "nndefense.models.torchvision_nets:build",
    "resnext101_64x4d": "nndefense.models.torchvision_nets:build",
    "efficientnet_lite{depth}": "nndefense.models.efficientnet_lite:build",
    "racnn": "nndefense.models.racnn:build",
    "timm/{name}": "nndefense.models.timm_nets:build",
    "open_clip/{name}": "nndefense.models.open_clip_nets:build",
    "torchvision/{name}": "nndefense.models.torchvision_nets:build",
    "module/{name}": "nndefense.models.user_module:build",
}
ARCHITECTURES |= plugin_targets("architectures", ARCHITECTURES)
