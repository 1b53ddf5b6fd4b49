"""The configuration that `nndefense init` writes, with comments on what to change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Steps of database sizes, and numbers of neighbours.
STEPS, SIZES = (1, 2, 5), 3
NEIGHBORS = (1, 5, 10, 50)
EPSILONS, BASE_EPSILON = "[0.005, 0.01, 0.02]", 0.01
# Where comments begin.
COLUMN = 29
POOLS = {"database": "All", "train": "Targeted"}


@dataclass(frozen=True)
class Experiment:
    """What is known of an experiment.

    Attributes:
        run: its name. data: folder of the images. weights: file of the network. Both are whole paths.
        architecture: of the network. classes: that it tells apart. blocks: of each of its stages.
        statistics: mean and standard deviation of its images; None: unknown.
        parts: folder, from `data`, and number of images of `test`, and `train` or `database`.
        size: side of the images. resize: of their short side before they are cut; None: `size`.
    """

    run: str
    data: str
    weights: str
    architecture: str
    classes: int
    blocks: Sequence[int]
    statistics: tuple[Sequence[float], Sequence[float]] | None
    parts: Mapping[str, tuple[str, int]]
    size: int
    resize: int | None


def configuration_text(of: Experiment) -> str:
    """The configuration as YAML with comments."""
    pools = {name: sizes_of(of.parts[name][1]) for name in POOLS if name in of.parts}
    smallest = min(sizes[0] for sizes in pools.values())
    neighbors = [one for one in NEIGHBORS if one <= smallest]
    layers = layers_of(of.blocks)
    text = TEXT.format(
        run=quoted(of.run),
        data=quoted(of.data),
        classes=of.classes,
        images="\n".join(image_line(of, name) for name in of.parts),
        count=min(1000, of.parts["test"][1]),
        test_count=f"{of.parts['test'][1]:,}",
        architecture=of.architecture,
        weights=quoted(of.weights),
        statistics=statistics_lines(of),
        pools="\n".join(pool_line(name, sizes) for name, sizes in pools.items()),
        sizes=json.dumps(max(pools.values(), key=max)),
        layers=", ".join(layers),
        layer=layers[-1],
        kept=neighbors[-1],
        neighbors=json.dumps(neighbors),
        epsilons=EPSILONS,
        epsilon=BASE_EPSILON,
    )
    return "\n".join(map(aligned, text.split("\n")))


def aligned(line: str) -> str:
    """A line whose comment, which stands behind a tab, begins where those of other lines do."""
    value, tab, comment = line.partition("\t")
    return f"{value:<{COLUMN}} {comment}" if tab else line


def sizes_of(count: int) -> list[int]:
    """Sizes of nested databases among so many images: the last of 1, 2, 5, 10, 20, 50, …"""
    ladder = [step * 10**power for power in range(len(str(count))) for step in STEPS]
    return [one for one in ladder if one <= count][-SIZES:]


def layers_of(blocks: Sequence[int]) -> list[str]:
    """Layers of the last two stages; stages count from 2."""
    stages = list(enumerate(blocks, 2))[-2:]
    return [f"conv_{stage}_1" for stage, _ in stages]


def image_line(of: Experiment, name: str) -> str:
    """An image set of a folder."""
    root, count = of.parts[name]
    resize = f", resize: {of.resize}" if of.resize else ""
    return f"  {name}: {{kind: folder, root: {quoted(root)}, size: {of.size}{resize}}}\t# {count:,} images"


def pool_line(name: str, sizes: Sequence[int]) -> str:
    """An image database."""
    return f"  {POOLS[name]}: {{images: [{name}], sizes: [{json.dumps(list(sizes))}]}}"


def statistics_lines(of: Experiment) -> str:
    """What the network subtracts and divides by."""
    if of.statistics is None:
        note = "    # those of ImageNet: change both if the network was trained with others, or accuracy is wrong"
        return f"{note}\n    mean: [0.485, 0.456, 0.406]\n    std: [0.229, 0.224, 0.225]"
    mean, std = ([round(one, 6) for one in values] for values in of.statistics)
    return f"    # those that the weights hold\n    mean: {mean}\n    std: {std}"


def quoted(text: str) -> str:
    """Text that YAML reads as it is."""
    return json.dumps(text, ensure_ascii=False)


TEXT = """\
# Written by `nndefense init`. Every key: config/README.md of the project; a wrong one ends with one line that says so.
#   nndefense doctor --configfile THIS_FILE           what this machine lacks for it
#   nndefense plan --configfile THIS_FILE             what it costs
#   nndefense run all --configfile THIS_FILE          figures, tables and accuracy.csv
run: {run}\t# files go to results/RUN/
dataset: {run}\t# name in figures and tables
data: {data}\t# relative paths below start here
seed: 1
classes: {classes}

images:\t# one folder per class; labels are the ranks of their names, as torchvision's are
{images}

queries:
  images: test\t# never in a database
  count: {count}\t# of {test_count}, drawn at random; null for all

models:
  own:
    architecture: {architecture}
    weights: {weights}
{statistics}
  # A network of the attacker's own, for attacks in the black box; then also `surrogate: other` and `settings` below.
  # other: {{architecture: cifar_resnet20, weights: other.pth}}
target: own
# surrogate: other

pools:\t# image databases; sizes in one inner list are searched in one pass
{pools}
sizes: [{sizes}]\t# of pools that name none

features:
  layers: [[{layers}]]\t# neighbours are compared by these; more are conv_STAGE_BLOCK
index:
  neighbors: {kept}\t# kept per query; every K below is at most this

attacks:
  methods: {{pgd: {{steps: 10}}}}\t# also fgsm, cw, …
  epsilons: [{epsilons}]\t# largest normalised l2 distance
  settings: [gray_box]\t# with a surrogate also black_box
  # Attacks through the defence, and the worst case: what an honest number needs. They take hours without a GPU.
  # adaptive:
  #   methods: {{transfer: {{}}, soft_retrieval: {{}}}}
  #   epsilons: [{epsilons}]
  #   count: 200
  #   doubled: soft_retrieval

votes:
  neighbors: {neighbors}

defenses: {{}}\t# to compare with, e.g. {{crop_ensemble: {{}}, tv_minimization: {{}}, jpeg: {{}}}}

base:\t# held fixed by figures and tables that do not vary them
  features: {layer}
  epsilon: {epsilon}
  neighbors: {kept}
"""
