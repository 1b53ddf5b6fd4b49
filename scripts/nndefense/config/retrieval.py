"""Section `retrieval`: smoothed nearest-neighbour retrieval with certificates (RetrievalGuard)."""

from typing import Annotated, Literal

from pydantic import Field

from nndefense.certificates import CERTIFICATES
from nndefense.config.base import Name, Section, Several, Text
from nndefense.core.options import Count, Positive

Sigmas = Annotated[list[Annotated[float, Field(gt=0)]], *Several]
Radii = Annotated[list[Positive], *Several]


class Task(Section):
    """Images that are looked for, and the gallery that they are looked for in; never the same image in both."""

    gallery: str = Field(description="The image set that the gallery is drawn from; its labels are what is retrieved.")
    gallery_count: Count | None = Field(500, description="Images of the gallery, drawn at random (null = all).")
    queries: str = Field(description="The image set that queries are drawn from; it may be the gallery's.")
    queries_count: Count | None = Field(200, description="Queries, drawn at random (null = all).")


class EmbeddingSection(Section):
    """What images are compared by: a network's features, scaled to norm 1."""

    model: str = Field(description="One of `models`; unless it is trained with noise, certificates are worth little.")
    output: Literal["features", "softmax", "output"] = Field(
        "features",
        description="`features` before the last layer; `softmax`, square roots of the classes' probabilities; `output` "
        "of a network trained by `metric_learning`.",
    )
    transform: Literal["none", "center", "lda"] = Field(
        "lda",
        description="Before the scaling: `center` subtracts the mean, `lda` takes the directions of linear "
        "discriminant analysis.",
    )
    fit: str | None = Field(
        None, description="The image set that the transform is fitted on (null = the one the network is trained on)."
    )
    fit_count: Annotated[int, Field(ge=2)] = Field(2000, description="Images of it, drawn at random, with noise.")
    gallery: Literal["items", "prototypes"] = Field(
        "items", description="What is retrieved from: every image, or the mean of every class."
    )
    sigmas: Sigmas = Field(description="Standard deviations of the noise, in units of pixels from 0 to 1.")
    tasks: Annotated[list[Name], *Several] | None = Field(None, description="Tasks it is used for (null = all).")
    label: Text | None = Field(None, description="What tables and figures call it (null = its name).")


class RetrievalAttack(Section):
    """Attacks on the retrieval, with and without noise: an l2 ball of absolute radius."""

    count: Count = Field(100, description="Queries that are attacked, the first ones.")
    steps: Count = Field(15, description="Gradient steps.")
    draws: Count = Field(16, description="Noisy copies that a gradient is averaged over.")
    radii: Radii = Field([0.1, 0.25, 0.4, 0.6, 1.0], description="Radii, l2 distances of images in [0, 1].")
    fresh: Count = Field(
        1000,
        description="Fresh draws that the answers to attacked images are of, at most; fewer where more could not "
        "change the answer.",
    )
    certified: Count | None = Field(
        10000,
        description="Attack every certified query at 0.95 of its radius, too, and count the answers that change, of at "
        "most as many fresh draws (null = do not).",
    )


class Retrieval(Section):
    """Smoothed nearest-neighbour retrieval: `retrievalguard/table`, `retrievalguard/fig`, `retrievalguard/claims`."""

    tasks: Annotated[dict[Name, Task], Field(min_length=1)] = Field(description="Queries and galleries by name.")
    embeddings: Annotated[dict[Name, EmbeddingSection], Field(min_length=1)] = Field(
        description="What images are compared by, by name."
    )
    draws: Annotated[int, Field(ge=2)] = Field(1000, description="Noisy copies of a query that certificates rest on.")
    first_draws: Count = Field(100, description="Further ones, which choose the answer that is certified.")
    gallery_draws: Count = Field(100, description="Noisy copies of a gallery image whose mean is stored.")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.001, description="Probability, for each query and certificate, that a radius is too large."
    )
    certificates: Annotated[list[Literal[tuple(CERTIFICATES)]], *Several] = Field(
        list(CERTIFICATES), description="Certificates."
    )
    radii: Annotated[list[Annotated[float, Field(ge=0)]], *Several] = Field(
        [0.0, 0.05, 0.1, 0.15, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
        description="Radii at which certified recall is reported, l2 distances of images in [0, 1].",
    )
    attack: RetrievalAttack | None = Field(
        default_factory=RetrievalAttack, description="Attacks on the retrieval (null = none)."
    )
