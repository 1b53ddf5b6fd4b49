"""What a plan has to know besides the configuration: its files, image sets, and the sizes of networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nndefense.config import Config
from nndefense.config.files import check_files
from nndefense.config.images import told_images
from nndefense.core.errors import ConfigError
from nndefense.core.files import read_json
from nndefense.flow.encoders import encoders, pass_encoder, passes_of
from nndefense.flow.estimate import Network
from nndefense.flow.shipped import BASE, workflow_folder

if TYPE_CHECKING:
    from torch import nn

OWN = Path(BASE)
FLOAT = 4


def configuration_files(files: Sequence[str | Path]) -> list[Path]:
    """Configuration files that count in this folder: its own config.yaml, if there is one, comes first.

    It does not count where one of the files names a `dataset`, which then stands alone.
    """
    found = [Path(one) for one in files]
    shipped = workflow_folder() / BASE
    if not OWN.is_file() or OWN.samefile(shipped) or any("dataset" in _read(one) for one in found):
        return found
    return [OWN, *found]


def read_configuration(files: Sequence[str | Path], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What stands in configuration files, as Snakemake reads them.

    Each changes the keys it names, on top of the one before; the first one extends the workflow's config.yaml, unless
    one of them names a `dataset`.

    Args:
        files: their paths.
        changes: of single keys, on top of all.

    Raises:
        ConfigError: a file that cannot be read, or has a key twice.
    """
    found: dict[str, Any] = {}
    for path in files:
        _update(found, _read(Path(path)))
    _update(found, changes or {})
    if "dataset" in found:
        return found
    base = _read(workflow_folder() / BASE)
    _update(base, found)
    return base


def _read(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"{path}: PyYAML is missing; pip install PyYAML") from None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"--configfile {path}: cannot be read ({reason}); allowed: YAML or JSON") from None
    check_files([path])
    if not isinstance(found, dict):
        raise ConfigError(f"--configfile {path}: holds no mapping; allowed: keys of config/README.md")
    return found


def _update(found: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(found.get(key), dict):
            _update(found[key], value)
        else:
            found[key] = dict(value) if isinstance(value, Mapping) else value


# -- image sets


def known_sets(config: Config, results: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Images of each set and the side of these, where the configuration tells them, or an earlier listing.

    Args:
        config: of the experiment.
        results: its folder of results; what images/SET/set.json tells counts where it was listed by the same options.
    """
    rows: dict[str, int] = {}
    sides: dict[str, int] = {}
    for name, section in config.images.items():
        count, side = told_images(section)
        listed = results / "images" / name / "set.json"
        if listed.is_file() and (about := read_json(listed)).get("options") == section.model_dump():
            count, side = about["rows"], about["size"]
        rows |= {name: count} if count else {}
        sides |= {name: side} if side else {}
    return rows, sides


# -- networks


def known_networks(
    config: Config, wanted: Iterable[tuple[str, int | None]], target: str
) -> dict[tuple[str, int], Network]:
    """Sizes of networks by model and side of the images, of which no weight is made.

    Args:
        config: of the experiment.
        wanted: models and sides; where the side is unknown, and of retrieval-augmented networks, nothing is found.
        target: the model whose layers are compared.

    Raises:
        ConfigError: a layer that the target lacks, or a library that an architecture needs.
    """
    found = {}
    for model, side in dict.fromkeys(wanted):
        if side and config.models[model].architecture != "racnn":
            found[model, side] = _network(config, model, side, layers=model == target or model in encoders(config))
    return found


def _network(config: Config, model: str, side: int, *, layers: bool) -> Network:
    import torch

    from nndefense.models.build import build_network, keep_pre_relu_values
    from nndefense.models.standardize import Standardized

    section = config.models[model]
    classes = config.classes if section.classes is None else section.classes
    with torch.device("meta"):
        net = keep_pre_relu_values(build_network(section.architecture, classes)).eval()
    network = (
        Standardized(net, section.mean, section.std, section.architecture, classes, section.resize).to("meta").eval()
    )
    pooled, passes = config.features.pooled, {}
    dimensions: dict[str, int] = {}
    whole, _, largest, every = _forward(network, [], {}, side)
    maps = 0
    for number, names in enumerate(passes_of(config) if layers else []):
        if pass_encoder(config, number) != model:
            continue
        flop, sizes, *_ = _forward(network, names, pooled, side, stop_early=number > 0)
        passes[number] = flop
        dimensions |= {name: width for name, (width, _) in sizes.items()}
        maps = max(maps, sum(held for _, held in sizes.values()))
    # A block's input, what its layers make of it, the shortcut and their sum stand side by side.
    held = maps + 5 * largest
    weights = FLOAT * sum(one.numel() for one in net.state_dict().values())
    name = f"{section.architecture}/{side}"
    return Network(name, whole, passes, dimensions, held, every + 5 * largest, weights)


def _forward(
    network: nn.Module, layers: Sequence[str], pooled: Mapping[str, int], side: int, *, stop_early: bool = False
) -> tuple[float, dict[str, tuple[int, int]], int, int]:
    """Operations of a pass of one image; features of each layer and bytes of its map; bytes of the largest of all maps
    and of all together.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from nndefense.features.extract import FeatureExtractor

    sizes: list[int] = []
    handles = [
        module.register_forward_hook(lambda module, given, output: sizes.append(FLOAT * output.numel()))
        for module in network.modules()
        # Batch norms are folded into the convolutions before them.
        if not list(module.children()) and not isinstance(module, torch.nn.BatchNorm2d)
    ]
    own = {name: value for name, value in pooled.items() if name in layers}
    extractor = FeatureExtractor(network, list(layers), own, stop_early=stop_early)
    image = torch.empty(1, 3, side, side, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features, _ = extractor(image)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        maps, _ = extractor.maps(image)
    found = {name: (values.shape[1], FLOAT * maps[name].numel()) for name, values in features.items()}
    return float(counter.get_total_flops()), found, max(sizes), sum(sizes)
