"""Section `models`: networks, and the recipes by which they are trained."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from nndefense.config.base import Distinct, Name, Section, Text, registered, union_of, variant
from nndefense.core.options import Count, NotNegative, Positive
from nndefense.defenses import TRAINING

STANDARD, RETRIEVAL, METRIC, CLUSTERED = "standard", "retrieval_augmented", "metric_learning", "clustered"
# Methods that make embeddings, whose outputs are no classes.
EMBEDDING = (METRIC, "self_supervised")
# What the workflow hands over to a method besides its options.
HANDED: dict[str, dict[str, Any]] = {
    "ensemble_training": {
        "sources": (
            Annotated[list[Name], Distinct],
            Field(
                [],
                description="Other models that make adversarial training images, besides the one in training; one is "
                "drawn for each batch.",
            ),
        )
    }
}


class Recipe(Section):
    """Cross-entropy on the images as they are."""

    discriminator: ClassVar[str] = "method"

    method: str = Field(
        STANDARD,
        description="`standard`; `ensemble_training`, also on one-step adversarial images of several models (Tramèr et "
        "al. 2018); `logit_pairing`, also on PGD images, whose logits shall be those of the image (Kannan et al. "
        "2018); `clustered`, on PGD images, whose latents shall be where clusters of clean ones are (Silva et al. "
        "2022); `gaussian_noise`, on images with noise (Cohen et al. 2019); `metric_learning`, an embedding; "
        "`self_supervised`, one that sees no labels (Chen et al. 2020); `retrieval_augmented`.",
    )
    images: str = Field(description="The image set to train on.")
    epochs: Count = Field(30, description="Passes over the training set.")
    batch: Count = Field(128, description="Images per step.")
    learning_rate: Positive = Field(0.1, description="Peak learning rate.")
    weight_decay: NotNegative = Field(0.0005, description="Weight decay.")
    flip: bool = Field(True, description="Mirror half of the images while training.")
    threads: Count = Field(2, description="Threads to train with. Another number gives (slightly) other weights.")
    initial: str | None = Field(
        None, description="Model of the same architecture whose weights training starts from (null = random ones)."
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of the method's class."""
        return self.model_dump(exclude={*Recipe.model_fields, *HANDED.get(self.method, ())})


def _recipes() -> dict[str, type[Section]]:
    registry = {**registered(TRAINING), RETRIEVAL: "nndefense.models.racnn_training:RetrievalTraining"}
    found = {name: variant(Recipe, name, target, **HANDED.get(name, {})) for name, target in registry.items()}
    return {STANDARD: variant(Recipe, STANDARD, optional=True), **found}


def _with_method(value: Any) -> Any:
    return {Recipe.discriminator: STANDARD, **value} if isinstance(value, dict) else value


METHODS = _recipes()
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]


class ZeroShot(Section):
    """A classifier by texts: mean embeddings of sentences on each class (Radford et al. 2021)."""

    names: Annotated[list[Text], Distinct, Field(min_length=2)] = Field(
        description="The classes in words, in the order of the test images' classes."
    )
    templates: Annotated[list[Annotated[str, Field(pattern=r"\{\}")]], Distinct, Field(min_length=1)] = Field(
        ["a photo of a {}."], description="Sentences with {} for a class; their embeddings are averaged."
    )


class Model(Section):
    """A network: trained here (`train`), read from a file (`weights`) or published by a library (`pretrained`)."""

    architecture: Text = Field(
        description="`cifar_resnet{6n+2}` (for 32-pixel images), a ResNet of torchvision, e.g. `resnet50`, "
        "`efficientnet_lite{0..4}`, `racnn`, which is trained by `retrieval_augmented`; or another network by its name "
        "in a library, `timm/vit_small_patch14_dinov2`, `open_clip/ViT-B-32`, `torchvision/convnext_tiny`, or yours, "
        "`module/my_package.nets:build`, which is called with `classes`."
    )
    classes: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Its number of outputs, if it has others than `classes` (null); 0 for none: timm and open_clip "
        "then give features. Such a network can be an encoder (`features.layers`), not a classifier.",
    )
    zero_shot: ZeroShot | None = Field(
        None, description="Make the image tower of open_clip a classifier by the names of the classes. null for not."
    )
    quick_gelu: bool = Field(
        False, description="Of open_clip: a file of weights was trained with OpenAI's approximate activations."
    )
    mean: Channels = Field([0.485, 0.456, 0.406], description="Mean of each colour channel that the network subtracts.")
    std: Channels = Field(
        [0.229, 0.224, 0.225], description="Standard deviation of each colour channel that the network divides by."
    )
    resize: Annotated[int, Field(ge=8)] | None = Field(
        None,
        description="Side in pixels that images are brought to before this network, where its weights are for such; "
        "attacks go through it. null = as they are.",
    )
    weights: Text | None = Field(
        None,
        description="A .safetensors, .pth, .pt, .pth.tar, .ckpt, .bin or .th file, below `data` unless its path is "
        "absolute: a state dict, also within what training programs write (averaged weights first); no pickled model.",
    )
    pretrained: Text | None = Field(
        None,
        description="Name of published weights: torchvision's, e.g. `IMAGENET1K_V1`, or a tag of timm or open_clip.",
    )
    train: Annotated[union_of(METHODS), BeforeValidator(_with_method)] | None = Field(
        None, description="Train it here."
    )

    @property
    def trained_from(self) -> list[str]:
        """Names of the models that must be there before this one is trained."""
        named = [getattr(self.train, key, None) for key in ("initial", "extractor")]
        return list(dict.fromkeys(name for name in [*named, *getattr(self.train, "sources", [])] if name))
