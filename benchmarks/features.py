"""Features against their floor and against what a user would pick instead, in one process, as ratios.

Extraction: one bare forward pass is the floor. Compared are our extraction of the default layers, pooled, with
the softmax, our early stop at the first of them, and torchvision's `create_feature_extractor` with the same
nodes, pooling and softmax. PCA: moments plus eigendecomposition against scikit-learn's IncrementalPCA.
Contenders take turns within a repeat, and CPU time is counted (of all threads), so that a busy machine disturbs
little; the table gives the median, the smallest and the largest ratio over the repeats.

    PYTHONPATH=scripts python benchmarks/features.py --architecture resnet50 --side 224 --batch 8
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from ratios import report

from nndefense.features.extract import FeatureExtractor
from nndefense.features.layers import default_layers
from nndefense.features.names import parse_layer
from nndefense.features.pca import Moments, fit_pca
from nndefense.features.pooling import pool_features, pool_side
from nndefense.models.build import build_model, freeze
from nndefense.models.standardize import Standardized

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.repeats} repeats")
    for architecture in options.architecture:
        side = 32 if architecture.startswith("cifar_") else options.side
        model = freeze(build_model(architecture, 1000, MEAN, STD))
        images = torch.rand(options.batch, 3, side, side, generator=torch.Generator().manual_seed(0))
        title = f"{architecture}, {options.batch} images of {side} pixels, {', '.join(default_layers(model))}"
        report(title, _extraction(model, images), options.repeats)
    rows = _correlated_rows(options.rows, options.dimension)
    report(f"PCA of {rows.shape[0]} x {rows.shape[1]} features to 256", _pca(rows), max(options.repeats // 2, 1))


def _extraction(model: Standardized, images: torch.Tensor) -> dict[str, Callable[[], object]]:
    layers = default_layers(model)
    whole = FeatureExtractor(model, layers)
    early = FeatureExtractor(model, layers[:1], stop_early=True)

    def ours() -> object:
        features, logits = whole(images)
        return features, torch.softmax(logits, 1)

    return {
        "bare forward pass": lambda: model(images),
        "our extraction": ours,
        f"our early stop at {layers[0]}": lambda: early(images),
        "torchvision extractor": _torchvision(model, images, layers),
    }


def _torchvision(model: Standardized, images: torch.Tensor, layers: list[str]) -> Callable[[], object]:
    from torchvision.models.feature_extraction import create_feature_extractor

    stages = [parse_layer(layer).block for layer in layers]
    nodes = {f"layer{stage - 1}.{block - 1}.add": layer for layer, (stage, block) in zip(layers, stages, strict=True)}
    head = "linear" if hasattr(model.net, "linear") else "fc"
    extractor = create_feature_extractor(model.net, return_nodes=nodes | {head: "logits"})

    def run() -> object:
        values = extractor((images.contiguous(memory_format=torch.channels_last) - model.mean) / model.std)
        logits = values.pop("logits")
        pooled = {layer: pool_features(values[layer], pool_side(parse_layer(layer).block[0])) for layer in layers}
        return pooled, torch.softmax(logits, 1)

    return run


def _pca(rows: np.ndarray) -> dict[str, Callable[[], object]]:
    from sklearn.decomposition import IncrementalPCA

    blocks = np.array_split(rows, max(len(rows) // 1024, 1))

    def ours() -> object:
        moments = Moments.empty(rows.shape[1])
        for block in blocks:
            moments.update(block)
        return fit_pca(moments, 256)

    def incremental() -> object:
        model = IncrementalPCA(256)
        for block in blocks:
            model.partial_fit(block)
        return model

    ours_variance = ours().explained_variance.sum()
    share = incremental().explained_variance_.sum() / ours_variance
    print(f"\nvariance that IncrementalPCA keeps, relative to ours: {share:.6f}")
    return {"ours: moments + eigh": ours, "IncrementalPCA": incremental}


def _correlated_rows(count: int, dimension: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    spread = 0.997 ** np.arange(dimension)
    mixing = rng.standard_normal((dimension, dimension)) / np.sqrt(dimension)
    return ((rng.standard_normal((count, dimension)) * spread) @ mixing + 3).astype(np.float32)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", nargs="+", default=["resnet18", "cifar_resnet20"])
    parser.add_argument("--batch", type=int, default=8, help="images a pass")
    parser.add_argument("--side", type=int, default=224, help="pixels, for networks other than cifar_*")
    parser.add_argument("--rows", type=int, default=8192, help="of features for the PCA")
    parser.add_argument("--dimension", type=int, default=2048, help="of features for the PCA")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
