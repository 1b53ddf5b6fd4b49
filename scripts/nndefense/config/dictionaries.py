"""Section `dictionaries`: purification by semantic reconstruction dictionaries (SRD), and what it is compared with."""

from typing import Annotated, Literal

from pydantic import Field

from nndefense.config.attacks import Budgets, Packed, ThroughMethods
from nndefense.config.base import Distinct, Name, Section
from nndefense.core.options import Count, Positive


class Clustering(Section):
    """Clusters of the latents of each class: PCA, then k-means."""

    most: Count = Field(5, description="Clusters of a class at most.")
    smallest: Annotated[int, Field(ge=2)] = Field(
        50, description="Images of each cluster at least where a class has several."
    )
    components: Count = Field(32, description="Dimensions that a class's latents are reduced to by PCA.")
    criterion: Literal["silhouette", "bic"] = Field("silhouette", description="What chooses the number of clusters.")
    least_silhouette: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.25, description="Mean silhouette from which a class is divided at all; `silhouette` only."
    )


class Learning(Section):
    """Convolutional dictionaries of colour filters, learnt online from the images of a cluster."""

    filters: Count = Field(64, description="Filters of a dictionary.")
    size: Count = Field(8, description="Side of a filter in pixels.")
    low_pass: Positive = Field(
        5.0, description="Weight of the gradient that an image's low band is smoothed by, while learning and later."
    )
    sparsity: Positive = Field(0.1, description="Weight of the codes' absolute values while learning.")
    steps: Count = Field(100, description="Batches that a dictionary is learnt from.")
    batch: Count = Field(16, description="Images of a batch.")
    crop: Count | None = Field(
        None, description="Side of the square that is cut from each image while learning (null = whole images)."
    )
    jobs: Count = Field(10, description="Jobs that the clusters are shared among; without effect on results.")


class Dictionaries(Packed):
    """Semantic reconstruction dictionaries: artifacts of the defence `srd`, and `srd/table`, `srd/fig` about it."""

    images: str = Field(description="The image set that clusters and dictionaries are learnt from; all of its images.")
    model: str | None = Field(
        None,
        description="One of `models`, whose latents (what its last layer is given) are divided (null = the target).",
    )
    clusters: Clustering = Field(default_factory=Clustering, description="How latents are divided.")
    learning: Learning = Field(default_factory=Learning, description="How dictionaries are learnt.")
    table: Annotated[list[Name], Distinct, Field(min_length=1)] = Field(
        description="Defences of `srd/table` and `srd/fig`, some of `defenses`, in this order; the bare network stands "
        "before them."
    )
    shown: Name = Field("srd", description="The defence of kind `srd` whose purified images are shown.")
    epsilons: Budgets = Field(description="Budgets of the table and the figure, some of `attacks.epsilons`.")
    attacks: ThroughMethods = Field(
        description="Attacks through each defence of the table, with their options; `unrolled` only through those that "
        "can be unrolled. They are run on the images of `attacks.adaptive.count` (not at all without "
        "`attacks.adaptive`), and join the worst case."
    )
