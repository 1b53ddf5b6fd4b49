"""What captions tell of a configuration: its figures and tables in words, and how its data differ from the paper's.

Computed while Snakemake parses, so that the jobs that write captions and pages depend on these words and on no piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nndefense.attacks import ATTACKS
from nndefense.images import KINDS
from nndefense.report.markup import rst
from nndefense.report.names import thousands
from nndefense.report.piece import Piece, attack_text, defense_params, held_fixed
from nndefense.report.pieces import existing

if TYPE_CHECKING:
    from nndefense.config import Config


def about_run(config: Config) -> dict[str, Any]:
    """JSON for `write_captions` and `make_pages`: the run's title, its pieces and its data in words."""
    return {
        "title": f"Nearest-neighbour defences on {config.dataset}: figures, tables, claims",
        "pieces": [about_piece(piece, config) for piece in existing(config)],
        "images": _images(config),
        "differences": differences(config),
    }


def report_words(config: Config) -> dict[str, str]:
    """What `report/workflow.rst` says of the run, in reStructuredText."""
    place = f"results/{config.run}" if config.run else "results"
    words = {"dataset": config.dataset, "classes": f"{config.classes:,}", "target": config.target, "seed": config.seed}
    return {name: rst(str(value)) for name, value in words.items()} | {"overview": f"{place}/overview.html"}


def about_piece(piece: Piece, config: Config) -> dict[str, str]:
    """Name, heading, title, how to read it, and what the paper's own is of."""
    attack, fixed = attack_text(piece, config), held_fixed(piece, config)
    sentences = [piece.shows]
    # The claims are about all that is attacked.
    if attack and piece.under != "all":
        sentences.append(f"Attacked images: {attack}.")
    if fixed:
        sentences.append(f"Held fixed: {fixed}.")
    return {
        "name": piece.name,
        "heading": piece.heading,
        "title": piece.title,
        "shows": " ".join(sentences),
        "paper": piece.paper,
    }


def _images(config: Config) -> str:
    kind = KINDS[config.images[config.queries.images].kind].label
    return f"of {config.dataset} ({kind}, {config.classes:,} classes); the paper: ImageNet, 1,000 classes."


def differences(config: Config) -> list[str]:
    """Sentences that set this run's data beside the paper's (Dubey et al. 2019, §5.1); images apart."""
    base = config.base
    names = defense_params(config, list(config.defenses))["defense_labels"]
    others = f" Other defences: {', '.join(names[one] for one in config.defenses)}." if config.defenses else ""
    return [
        f"Networks: {_model(config, config.target)}{_surrogate(config)}. The paper: ResNet-50, and ResNet-18 for "
        "black-box attacks, trained on ImageNet.",
        f"Databases: {'; '.join(_pool(config, name) for name in config.pools)}. The paper: up to 50 billion web "
        "images at random (IG-N-All), 1 billion chosen by hashtag (IG-N-Targeted), 100 million (YFCC-100M), 1.28 "
        "million training images (IN-1.3M).",
        f"Attacks: {'; '.join(_method(name, config) for name in config.attacks.methods)}; "
        f"budgets Δ of {', '.join(f'{one:g}' for one in config.attacks.values)}, on {base.space} pixels. "
        f"The paper: PGD with 10 steps; its tables are at Δ = 0.06 (this run's at {base.epsilon:g}).",
        f"Defence, where not varied: {base.features} features, K = {base.neighbors}, {base.weighting}, "
        f"{base.combination}. The paper: conv_5_1, K = 50, CBW-D, soft.{others}",
        "Accuracies of the two are not to be compared value by value: what is judged are the differences and trends "
        "that the paper's text claims.",
    ]


def _surrogate(config: Config) -> str:
    if config.surrogate is None:
        return ""
    return f"; black-box attacks use the gradients of {_model(config, config.surrogate)}"


def _model(config: Config, name: str) -> str:
    model = config.models[name]
    if model.train:
        epochs = getattr(model.train, "epochs", None)
        origin = f"trained here on {model.train.images}" + (f", {counted(epochs, 'epoch')}" if epochs else "")
    else:
        origin = f"torchvision's {model.pretrained}" if model.pretrained else "weights from a file"
    return f"{name} ({model.architecture}, {origin})"


def _pool(config: Config, name: str) -> str:
    pool = config.pools[name]
    chosen = " whose tag names a class of the task" if pool.tags == "task" else ""
    what = " and ".join(dict.fromkeys(KINDS[config.images[one].kind].label for one in pool.images))
    smallest = f"{thousands(min(pool.values))} to " if len(pool.values) > 1 else ""
    return f"{name}, {smallest}{thousands(max(pool.values))} images of {', '.join(pool.images)} ({what}){chosen}"


def _method(name: str, config: Config) -> str:
    options = config.attacks.methods[name].model_dump()
    words = [f"{key.replace('_', ' ')} {value}" for key, value in options.items() if "steps" in key]
    return f"{ATTACKS[name].label} ({', '.join(words)})" if words else ATTACKS[name].label


def counted(number: int, noun: str) -> str:
    """1 epoch, 1,000 images."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
