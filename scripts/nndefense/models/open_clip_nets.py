"""Image towers of open_clip by name, `open_clip/ViT-B-32`, and zero-shot classifiers of them (Radford et al. 2021)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, FileFault
from nndefense.models.published import ENCODERS, fetching

TEMPLATES = ("a photo of a {}.",)
TEXT_BATCH = 256
# Key of what open_clip knows of a tag's weights.
QUICK = "quick_gelu"


class ImageTower(nn.Module):
    """Unit embeddings of standardised images, or their products with those of classes' texts.

    Args:
        visual: standardised images (B, 3, H, W) -> embeddings (B, D).
        width: D. classes: number of logits; 0 for the embeddings themselves.
        options: what `build` has to be told to build the same.
    """

    def __init__(self, visual: nn.Module, width: int, classes: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.visual, self.options = visual, dict(options)
        self.head = nn.Linear(width, classes, bias=False) if classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Standardised images (B, 3, H, W) -> logits (B, classes), or embeddings (B, D)."""
        return self.head(functional.normalize(self.visual(images), dim=1))


def build(
    architecture: str,
    classes: int,
    weights: str | None = None,
    *,
    names: Sequence[str] = (),
    templates: Sequence[str] = TEMPLATES,
    state: Mapping[str, Tensor] | None = None,
    quick_gelu: bool = False,
) -> nn.Module:
    """The image tower of a model.

    Args:
        architecture: `open_clip/` and open_clip's name.
        classes: number of logits, 0 for embeddings.
        weights: tag of published weights, such as `openai`; None for random ones.
        names: of the classes, in their order, for a zero-shot classifier; none to leave the last layer random.
        templates: sentences with {} for the name of a class.
        state: weights of the whole model, image and text tower, instead of published ones.
        quick_gelu: whether activations are those that OpenAI trained with; of published weights that is known.

    Raises ConfigError for an unknown name or tag, names that do not fit `classes`, and if open_clip is not installed;
    FileFault where weights cannot be fetched, or do not fit.
    """
    if names and len(names) != classes:
        raise ConfigError(f"zero_shot.names: {len(names)} names for {classes} classes; allowed: one for each")
    model = _whole(architecture, weights, quick_gelu)
    if state is not None:
        _fill(model, architecture, state)
    quick = any(type(module).__name__ == "QuickGELU" for module in model.visual.modules())
    tower = ImageTower(model.visual, _width(model), classes, {"quick_gelu": True} if quick else {})
    if names:
        head: Any = tower.head
        with torch.no_grad():
            head.weight.copy_(_text_rows(model, _tokenizer(architecture), names, templates))
    return tower


def _open_clip(architecture: str) -> Any:
    try:
        # Costs seconds, so it is paid only by those who build such a network.
        import open_clip
    except ImportError as error:
        raise ConfigError(f"architecture {architecture!r}: needs open_clip; install {ENCODERS}") from error
    return open_clip


def _whole(architecture: str, weights: str | None, quick_gelu: bool) -> Any:
    name, library = architecture.partition("/")[2], _open_clip(architecture)
    if name not in library.list_models():
        near = [one for one in library.list_models() if one.lower()[:5] == name.lower()[:5]] or library.list_models()
        raise ConfigError(f"architecture {architecture!r}: open_clip has no {name!r}; allowed: {', '.join(near[:8])}")
    if weights is not None and weights not in (tags := library.list_pretrained_tags_by_model(name)):
        raise ConfigError(f"weights {weights!r}: unknown for {architecture}; allowed: {', '.join(tags) or 'none'}")
    # It builds by the name alone, and warns where a tag's weights were trained with other activations.
    quick_gelu = quick_gelu or (weights is not None and library.get_pretrained_cfg(name, weights).get(QUICK, False))
    # It takes networks to a device, the CPU where none is named: even those that shall have no weights at all.
    options = {"force_quick_gelu": quick_gelu, "device": torch.get_default_device()}
    with fetching("open_clip", f"{name}, {weights}") if weights else _told_nothing():
        return library.create_model(name, pretrained=weights, **options)


@contextmanager
def _told_nothing() -> Iterator[None]:
    """Without open_clip's warning that weights are random: they are asked for, or come from a file."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _tokenizer(architecture: str) -> Any:
    return _open_clip(architecture).get_tokenizer(architecture.partition("/")[2])


def _width(model: Any) -> int:
    return int(model.visual.output_dim)


def _fill(model: nn.Module, architecture: str, state: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise FileFault(f"weights do not fit {architecture} ({str(error).splitlines()[-1].strip()[:160]})") from error


@torch.no_grad()
def _text_rows(model: Any, tokenize: Any, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Rows (classes, D) of a zero-shot classifier: mean unit embeddings of sentences, times the model's scale."""
    model.eval()
    rows = []
    for name in names:
        tokens = tokenize([template.replace("{}", name) for template in templates])
        parts = [model.encode_text(part, normalize=True) for part in tokens.split(TEXT_BATCH)]
        rows.append(functional.normalize(torch.cat(parts).mean(0), dim=0))
    return model.logit_scale.exp() * torch.stack(rows)
