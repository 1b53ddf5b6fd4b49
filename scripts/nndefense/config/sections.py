"""The whole configuration: its sections, and the keys that stand alone."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nndefense.config.attacks import Attacks
from nndefense.config.base import Distinct, Name, Section, Several, Text, flat
from nndefense.config.defenses import Defenses
from nndefense.config.dictionaries import Dictionaries
from nndefense.config.images import ImageSet, Patches, Pool, Queries, Sizes, Validation
from nndefense.config.models import Model
from nndefense.config.retrieval import Retrieval
from nndefense.core.errors import ConfigError
from nndefense.core.options import Count, Share, Whole
from nndefense.features.names import PATTERN, PLAIN, parse_layer


def layer_name(value: str) -> str:
    """The name of a layer, if its parts fit each other."""
    try:
        parse_layer(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


Layer = Annotated[str, Field(pattern=f"^{PATTERN}$"), AfterValidator(layer_name)]
PlainLayer = Annotated[str, Field(pattern=f"^{PLAIN}$")]


class Features(Section):
    """What neighbours are compared by."""

    layers: Annotated[list[Layer | Annotated[list[Layer], Field(min_length=1)]], *Several] = Field(
        description="Layers, `conv_{stage}_{block}` as in He et al. (torchvision's `layer1` is stage 2), before the "
        "block's last ReLU; `conv_5_1-RMAC` is pooled by R-MAC and compared by the signs of its PCA codes (bits, "
        "Hamming distance). Or any module by its path, e.g. `layer4.0`, `blocks.11`: of maps their mean, of tokens the "
        "mean of the patches, with `-CLS` the first one; `-L2` behind that scales to unit length. Before it stands the "
        "model, where it is not `encoder`: `dino@blocks.11-CLS`. Those in a list of their own share one forward pass."
    )
    encoder: str | None = Field(
        None, description="The model that layers without one before them are of (null = `target`)."
    )
    pooled: dict[PlainLayer, Count] = Field(
        {},
        description="Side of a layer's map after average pooling, by layer; others as in the paper's Table 3 (7, 7, 4, "
        "1 for stages 2 to 5), and 1 for modules by their paths; at most the map's own side.",
    )
    ablation_pools: Annotated[list[Name], Distinct] | None = Field(
        None, description="Pools that layers other than `base.features` are evaluated on (null = all)."
    )
    components: Annotated[int, Field(ge=1, le=4096)] = Field(
        256, description="Dimensions kept by PCA (fewer where the features or the sample have fewer)."
    )
    pca_samples: Annotated[int, Field(ge=2)] = Field(
        100000, description="Database images the PCA is fitted on, the first of the pool. Paper, 3 million."
    )
    batch: Count = Field(250, description="Images per forward pass; halved by itself when memory runs out.")
    keep: bool = Field(
        True,
        description="Keep the features before PCA (large). If false they are deleted once reduced, and computed again "
        "where another PCA needs them.",
    )

    @property
    def passes(self) -> list[list[str]]:
        """The layers, those together that share a forward pass."""
        return [flat([one]) for one in self.layers]

    @property
    def names(self) -> list[str]:
        """The layers, one by one."""
        return flat(self.layers)


class MeasuredIndex(Section):
    """A search index that the index report measures."""

    factory: Text = Field(description="FAISS factory string, as `index.factory`; `Flat` is the exact search.")
    probes: Count | None = Field(
        None, description="Lists that an inverted-file index visits per query (null = FAISS's own 1; only for `IVF`)."
    )

    @property
    def label(self) -> str:
        """What it is called: IVF256,Flat (4 probes)."""
        probes = f" ({self.probes} probe{'s' * (self.probes > 1)})" if self.probes else ""
        return f"{self.factory}{probes}"

    @property
    def word(self) -> str:
        """Its name within those of rules and files."""
        return re.sub(r"\W+", "_", self.label).strip("_")


def _each_word_once(values: list[MeasuredIndex]) -> list[MeasuredIndex]:
    words = [one.word for one in values]
    if twice := [one for place, one in enumerate(values) if one.word in words[:place]]:
        raise ValueError(f"{twice[0].label!r} stands there twice; allowed: each once")
    return values


class Index(Section):
    """The search index of every shard."""

    factory: Text = Field(
        "Flat",
        description="FAISS factory string, e.g. `Flat` (exact), `IVF1024,Flat`, `IVF4096,SQ8`. Layers with `-RMAC` "
        "always have an exact binary index.",
    )
    probes: Count | None = Field(
        None, description="Lists that an inverted-file index visits per query (null = FAISS's own 1; only for `IVF`)."
    )
    codes: Literal["float32", "float16"] = Field(
        "float32",
        description="Type of the codes on disk; `float16` takes half of it. Those of `-RMAC` layers are bits.",
    )
    gpu: bool = Field(
        False,
        description="Search on a GPU where jobs get one (`gpu`): codes that are compared, and inverted files where "
        "FAISS was built for it. Neighbours that are as near but for rounding may change places.",
    )
    rows_per_job: Count = Field(
        1 << 25, description="Images that one job searches at most, in several shards; or one shard."
    )
    neighbors: Count = Field(
        100,
        description="Nearest neighbours kept per query; every K in `votes`, and of the white box, is at most this.",
    )
    report: Annotated[list[MeasuredIndex], AfterValidator(_each_word_once)] = Field(
        [],
        description="Indexes, each `{factory: ..., probes: ...}` as above, that `index_report` and `fig_index` compare "
        "with the exact search, by recall, accuracy, size and speed, in the base pool's largest database, which they "
        "hold in memory; empty = no report.",
    )


class Votes(Section):
    """How neighbours' predictions are combined; every combination is evaluated from the same neighbour lists."""

    neighbors: Annotated[list[Count], *Several] = Field([50], description="Numbers of neighbours K.")
    weightings: Annotated[list[Literal["UW", "CBW-E", "CBW-D"]], *Several] = Field(
        ["UW", "CBW-E", "CBW-D"], description="Weights of the neighbours, uniform or by confidence (paper §4)."
    )
    combinations: Annotated[list[Literal["soft", "hard"]], *Several] = Field(
        ["soft", "hard"],
        description="`soft` averages probabilities, `hard` counts each neighbour's predicted class (paper, appendix "
        "C).",
    )


class Base(Section):
    """The values that tables and figures hold fixed where they do not vary them."""

    features: str = Field(description="One of `features.layers`.")
    epsilon: float = Field(description="One of `attacks.epsilons`.")
    attack: str = Field("pgd", description="One of `attacks.methods` that does not know of the defence.")
    space: str = Field("raw01", description="One of `attacks.spaces`.")
    pool: str | None = Field(
        None, description="One of `pools` (null = the last of those with several sizes, or the last of all)."
    )
    neighbors: int = Field(50, description="One of `votes.neighbors`.")
    weighting: str = Field("CBW-D", description="One of `votes.weightings`.")
    combination: str = Field("soft", description="One of `votes.combinations`.")


RUN_NAME = "^([A-Za-z0-9_][A-Za-z0-9_-]{0,63})?$"


class Config(Section):
    """An experiment."""

    run: Annotated[str, Field(pattern=RUN_NAME)] = Field(
        "", description="Name of the run; its files go to `results/{run}/`. Empty for `results/` itself."
    )
    base_run: Annotated[str, Field(pattern=RUN_NAME)] | None = Field(
        None,
        description="Run whose files this one begins with: where there is no `results/{run}/` yet, `nndefense run` "
        "makes it of them (as `nndefense fork` does), and what is the same in both is not made again. Empty for the "
        "run without a name; null for none. Snakemake by itself does not look at this.",
    )
    dataset: Text = Field(description="Name of the task in result rows, tables and figures.")
    seed: Whole = Field(1, description="The seed that every random choice derives from.")
    environment: Literal["cpu", "gpu"] = Field(
        "cpu",
        description="Conda environment of the jobs where Snakemake deploys software (`--sdm conda`), "
        "`envs/{environment}.yaml`.",
    )
    threads: Count = Field(
        1,
        description="Threads of a job that runs a network without training it. Jobs run side by side up to `--cores`.",
    )
    gpu: Annotated[int, Field(ge=0, le=1)] = Field(
        1,
        description="GPUs that a job with a network asks for; 0 where the machines have none. On one machine "
        "`--resources gpu=0` says the same.",
    )
    precision: Literal["exact", "tf32", "bf16"] = Field(
        "exact",
        description="Of features, and of attacks' gradients where `attacks.precision` says nothing else: `exact`, "
        "single precision; `tf32`, on GPUs, and `bf16`, on GPUs and on CPUs with instructions for it, are faster and "
        "coarser, and are `exact` elsewhere. What attacks decide by is computed in single precision.",
    )
    compile: bool = Field(
        False,
        description="Compile networks on a GPU: of passes over images, and those that are attacked without a defence.",
    )
    memory_mb: Count = Field(
        8000,
        description="Memory in MB that a job with a network asks a cluster for; others follow from their sizes.",
    )
    data: str = Field(
        "data",
        description="Folder that relative `root` and `weights` paths start from (`~` and environment variables are "
        "expanded). On the command line, `--config data=FOLDER`.",
    )
    classes: Annotated[int, Field(ge=2)] = Field(description="Number of classes the networks tell apart.")
    skip_limit: Share = Field(
        0.01,
        description="Largest share of unreadable images (0 to 1) a job accepts; it logs and skips them, and fails "
        "above this.",
    )
    images: Annotated[dict[Name, ImageSet], Field(min_length=1)] = Field(
        description="The image sets by name. `kind` says how one is read, the other keys depend on it."
    )
    queries: Queries = Field(description="The test images that are attacked and classified.")
    models: Annotated[dict[Name, Model], Field(min_length=1)] = Field(
        description="The networks by name. Each has exactly one of `train`, `weights` and `pretrained`."
    )
    target: str = Field(
        description="The model that classifies, and gives the features where `features.encoder` names no other; "
        "gray-box attacks use its gradients."
    )
    surrogate: str | None = Field(
        None, description="The model whose gradients black-box attacks use; required with the setting `black_box`."
    )
    pools: Annotated[dict[Name, Pool], Field(min_length=1)] = Field(
        description="The image databases by name. Each is a seeded permutation of its images, cut into nested "
        "databases of the given sizes."
    )
    sizes: Sizes = Field(
        description="Database sizes N in images. Larger ones contain smaller ones. Those in a list of their own are "
        "searched in one pass; one that is added behind it costs a pass over its own images only."
    )
    shard_rows: Count = Field(
        1 << 20,
        description="Images in a shard at most: what one job puts through the network. Shards end at the sizes, where "
        "overlaps end, and behind `features.pca_samples`, too.",
    )
    features: Features = Field(description="What neighbours are compared by.")
    index: Index = Field(default_factory=Index, description="The search index of every shard.")
    attacks: Attacks = Field(
        description="Attacks, budgets and threat models; every combination is a set of attacked images."
    )
    votes: Votes = Field(
        default_factory=Votes,
        description="How neighbours' predictions are combined; every combination is evaluated from the same neighbour "
        "lists.",
    )
    defenses: Defenses = Field(
        {}, description="The other defences, by a name of your choice; `kind` says which, the other keys depend on it."
    )
    patches: Patches | None = Field(
        None, description="Patches that image quilting puts images together from. null for none."
    )
    validation: Validation | None = Field(
        None, description="Images that options of defences are chosen on. null for none."
    )
    dictionaries: Dictionaries | None = Field(
        None, description="Semantic reconstruction dictionaries, which the defence `srd` purifies by. null for none."
    )
    retrieval: Retrieval | None = Field(
        None, description="Smoothed nearest-neighbour retrieval with certificates (RetrievalGuard). null for none."
    )
    base: Base = Field(description="The values that tables and figures hold fixed where they do not vary them.")
