"""Retrieval-augmented networks: an image is classified by the features of similar images (Zhao & Cho).

SysML 2018 (h_bar and y_bar of N neighbours, features frozen) and arXiv 1802.09502 (features trained, local mixup) are
one network with different options. The search is treated as constant: gradients by the image flow through its own
features in the attention weights only. `nndefense.defenses.retrieval_augmented` is what an attacker differentiates.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from nndefense.core.errors import ConfigError
from nndefense.models.attention import BilinearAttention, convex_sum
from nndefense.models.build import build_network
from nndefense.models.computing import asked
from nndefense.models.latents import last_linear
from nndefense.models.memory import Memory
from nndefense.models.projection import random_projection


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions:
    """What `model.json` records of the network.

    base: architecture whose penultimate features are used. rows: images in memory. neighbors: N.
    finetune: the features phi are trained; the search keeps the extractor's, phi', as a network of its own.
    use_labels: the neighbours' labels are classified together with their features. hidden: widths of the fully
    connected layers before the last. projection: dimensions that the search compares (None: all).
    engine, hashes, tables, width: of `nndefense.models.memory.Memory`. seed: of projection and hashes.
    Raises ConfigError for values out of range.
    """

    base: str
    rows: int
    neighbors: int = 10
    finetune: bool = True
    use_labels: bool = False
    hidden: Iterable[int] = ()
    projection: int | None = None
    engine: str = "exact"
    hashes: int = 8
    tables: int = 24
    width: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if not 1 <= self.neighbors <= self.rows:
            raise ConfigError(f"neighbors {self.neighbors}: allowed are 1 to the {self.rows} images of the database")
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden {list(self.hidden)}: every width must be at least 1")


def build(architecture: str, classes: int, weights: str | None = None, **options: Any) -> "RetrievalAugmented":
    """The network with random weights and an empty memory, for the options of `RetrievalOptions`.

    Raises ConfigError for options that are missing, unknown or out of range, and for `weights`: none are published.
    """
    if weights is not None:
        raise ConfigError(f"weights {weights!r}: {architecture} has no weights by name; train it")
    known = [field.name for field in fields(RetrievalOptions)]
    unknown, missing = set(options) - set(known), {"base", "rows"} - set(options)
    if unknown or missing:
        problem = f"has no option {min(unknown)!r}" if unknown else f"needs option {min(missing)!r}"
        raise ConfigError(f"architecture {architecture!r} {problem}; allowed: {', '.join(known)}")
    chosen = RetrievalOptions(**options)
    phi = build_network(chosen.base, classes)
    return RetrievalAugmented(phi, cut_last_layer(phi, classes).in_features, classes, chosen)


def cut_last_layer(net: nn.Module, classes: int | None) -> nn.Linear:
    """Replaces the last linear layer by the identity, so that `net` returns its penultimate features; returns it.

    Raises ConfigError for networks that do not end in a linear layer of `classes` outputs.
    """
    name, layer = last_linear(net, classes)
    net.set_submodule(name, nn.Identity())
    return layer


class RetrievalAugmented(nn.Module):
    """Standardised images (B, 3, H, W) -> logits (B, classes); in eval mode a function of each image alone.

    phi: standardised images -> features (B, dimension). Its batch norms, and those of the search, always use their
    running statistics: the images of a batch are neighbours of each other, not a sample of the data.
    """

    projection: Tensor | None

    def __init__(self, phi: nn.Module, dimension: int, classes: int, options: RetrievalOptions) -> None:
        super().__init__()
        self.options, self.classes = options, classes
        self.phi = phi
        # Where phi is frozen, one pass serves the search and the attention.
        self.retriever = deepcopy(phi).requires_grad_(False) if options.finetune else None
        projection = None
        if options.projection is not None:
            projection = torch.from_numpy(random_projection(dimension, options.projection, options.seed))
        self.register_buffer("projection", projection)
        lsh = {key: getattr(options, key) for key in ("hashes", "tables", "width", "seed")}
        keys = dimension if projection is None else len(projection)
        self.memory = Memory(options.rows, keys, dimension, engine=options.engine, **lsh)
        self.attention = BilinearAttention(dimension)
        widths = [dimension + classes * options.use_labels, *options.hidden]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], classes))
        self.train(False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.phi(images)
        places = neighbors_of(self.memory, self.query(images, features), self.options.neighbors)
        neighbors, labels = self.memory.features[places], self.memory.labels[places]
        return self.classify(self.attention(features, neighbors), neighbors, labels)

    def query(self, images: Tensor, features: Tensor) -> Tensor:
        """What the search compares with the keys, (B, key dimension), constant to the gradient.

        images: standardised. features: phi's of the same images, used where the search shares phi.
        """
        with torch.no_grad():
            return self.embed(images.detach(), features.detach())

    def embed(self, images: Tensor, features: Tensor) -> Tensor:
        """The same as `query`, with its gradient."""
        found = features if self.retriever is None else asked(self.retriever, images)
        return found if self.projection is None else functional.linear(found.to(self.projection), self.projection)

    def classify(self, weights: Tensor, neighbors: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, classes) of convex sums: weights (B, N), features (B, N, D) and labels (B, N) of neighbours."""
        summary = convex_sum(weights, neighbors)
        if self.options.use_labels:
            one_hot = functional.one_hot(labels, self.classes).to(weights.dtype)
            summary = torch.cat([summary, convex_sum(weights, one_hot)], dim=1)
        return self.head(summary)

    def train(self, mode: bool = True) -> "RetrievalAugmented":
        """Switches head and attention only, see the class."""
        super().train(mode)
        self.phi.eval()
        if self.retriever is not None:
            self.retriever.eval()
        return self

    def description(self) -> dict[str, Any]:
        """Options that `build` makes this network of, the width of the hashes among them."""
        width = self.memory.lsh.width if self.options.engine == "lsh" else None
        return {**asdict(self.options), "width": width}

    def trainable(self) -> list[nn.Parameter]:
        """Parameters that training changes: attention and head, and phi where it is fine-tuned."""
        parts = [self.attention, self.head, *([self.phi] if self.options.finetune else [])]
        return [parameter for part in parts for parameter in part.parameters()]


def neighbors_of(memory: Memory, queries: Tensor, count: int) -> Tensor:
    """`memory.nearest` as one call that torch.fx does not look into: (B, count) int64."""
    return memory.nearest(queries, count)


fx.wrap("neighbors_of")
