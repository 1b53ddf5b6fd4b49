"""Semantic reconstruction dictionaries as a purifier (Silva et al. 2021, 2022; spec of their public code).

The high band of an image is replaced by what the dictionary of its cluster reconstructs of it. The cluster is the one
whose mean latent is nearest to the image's own; which network's latents, and what else may choose, are options, so that
it can be tested what the choice is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nndefense.core.errors import InputError
from nndefense.core.options import Count, NotNegative, Positive
from nndefense.core.streams import stream
from nndefense.defenses.base import Context, Model, Purifier, like_format
from nndefense.dictionaries.clusters import choose_cluster
from nndefense.dictionaries.purify import Purified, purify, purify_unrolled
from nndefense.dictionaries.spectrum import Spectrum, transform_filters
from nndefense.models.latents import latents
from nndefense.models.predict import require_eval

# Values of transformed filters that are kept, over all clusters: 1 GB.
KEPT_VALUES = 1 << 27


class Spectra(Sequence[Spectrum]):
    """Dictionaries for images of one size, transformed when they are first asked for; the latest ones are kept.

    Args:
        filters: (K, M, C, s, s) float32, on the device of the images to come.
        height: H of the images.
        width: W of the images.
    """

    def __init__(self, filters: Tensor, height: int, width: int) -> None:
        self.size = len(filters)
        values = 2 * filters.shape[1] * filters.shape[2] * height * (width // 2 + 1)
        kept = max(1, KEPT_VALUES // values)
        self._transformed = lru_cache(kept)(lambda place: transform_filters(filters[place], height, width))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> Spectrum:  # type: ignore[override]  # nobody asks for slices
        return self._transformed(place)


@dataclass(frozen=True, kw_only=True)
class SemanticDictionaries(Purifier):
    """Reconstructs the high band of an image sparsely by the dictionary of its cluster.

    Context: "filters" (K + 1, M, C, s, s), a dictionary of each cluster and, last, that of all images; "low_pass" they
    were learnt with; "means" and "deviations" (K, D) of the clusters; "chooser", the network whose latents choose;
    "oracle", image id -> cluster, for `choice` oracle.
    """

    choice: Annotated[
        Literal["nearest", "oracle", "random", "whole"],
        Field(
            description="The dictionary of an image: of the cluster nearest to its latents; of that of the clean "
            "image among those of its true class (not to be had, a bound); of a cluster drawn at random; or the one of "
            "all images."
        ),
    ] = "nearest"
    distance: Annotated[
        Literal["mse", "mahalanobis"],
        Field(description="Distance of latents from a cluster: to its mean, or in units of its own deviations."),
    ] = "mse"
    sparsity: Annotated[Positive, Field(description="Weight of the codes' absolute values; more takes more away.")] = (
        0.1
    )
    iterations: Annotated[Count, Field(description="Steps of ADMM at most.")] = 250
    tolerance: Annotated[
        NotNegative,
        Field(
            description="Relative change of the objective at which an image's code is done: at 0.01 pixels are about "
            "1/255 (root mean square) from where they end."
        ),
    ] = 1e-2
    unrolled: Annotated[Count, Field(description="Steps of ADMM that attack `unrolled` differentiates.")] = 30

    @property
    def random(self) -> bool:
        return self.choice == "random"

    def prepare(self, context: Context) -> Context:
        self.required(context, "filters", "low_pass", "means", "deviations", "chooser")
        if self.choice == "oracle":
            self.required(context, "oracle")
        require_eval(context["chooser"])
        filters = context["filters"]
        if filters.ndim != 5 or len(filters) != len(context["means"]) + 1:
            raise InputError(
                f"dictionaries {tuple(filters.shape)} do not fit {len(context['means'])} clusters; "
                "needed: one of each cluster, and one of all images"
            )
        sized = lru_cache(4)(lambda height, width: Spectra(filters, height, width))
        return {**context, "spectra": sized}

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return like_format(self.purified(images, rows, seed, context)[0].images, images)

    def purified(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> tuple[Purified, Tensor]:
        """What becomes of images (B, 3, H, W) in [0, 1], with its parts, and the dictionary of each, (B,)."""
        chosen = self.chosen(images, rows, seed, context)
        found = purify(
            images.contiguous(),
            context["spectra"](*images.shape[2:]),
            chosen,
            sparsity=self.sparsity,
            low_pass=context["low_pass"],
            method="admm",
            iterations=self.iterations,
            tolerance=self.tolerance,
        )
        return found, chosen

    def chosen(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        """Places of the images' dictionaries, (B,) int64 on the CPU."""
        count = len(context["means"])
        if self.choice == "whole":
            return torch.full((len(images),), count)
        if self.choice == "random":
            return torch.tensor([int(stream(seed, row).integers(count)) for row in rows.tolist()], dtype=torch.int64)
        if self.choice == "oracle":
            known = context["oracle"]
            if strange := [row for row in rows.tolist() if row not in known]:
                raise InputError(f"defense srd, choice oracle: image {strange[0]} has no known cluster")
            return torch.tensor([known[row] for row in rows.tolist()], dtype=torch.int64)
        with torch.no_grad():
            found = latents(context["chooser"], images).cpu().numpy()
        return torch.from_numpy(choose_cluster(found, context["means"], context["deviations"], self.distance))

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        if not context.get("unroll"):
            return super().differentiable(model, images, rows, seed, context)
        purified = purify_unrolled(
            images.contiguous(),
            context["spectra"](*images.shape[2:]),
            self.chosen(images.detach(), rows, seed, context),
            sparsity=self.sparsity,
            low_pass=context["low_pass"],
            method="admm",
            iterations=self.unrolled,
        )
        return model(like_format(purified, images))
