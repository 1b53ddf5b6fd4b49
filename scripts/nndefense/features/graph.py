"""A pass that yields several layers as one graph without hooks, which a compiler can take whole."""

import torch
from torch import Tensor, fx, nn

from nndefense.core import devices
from nndefense.core.memory import is_out_of_memory
from nndefense.features.extract import FeatureExtractor
from nndefense.models.computing import Computing


class GraphExtractor(FeatureExtractor):
    """As the extractor that it is made of, which records by hooks; the network's weights are shared."""

    def __init__(self, extractor: FeatureExtractor, graph: nn.Module) -> None:
        """graph: standardised images -> maps by layer, and logits or None, as of `graph_of`."""
        vars(self).update(vars(extractor))
        self._pass = extractor.model.around(graph)

    def maps(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        return self._pass(images)


def compiled(extractor: FeatureExtractor, computing: Computing, device: str | torch.device) -> FeatureExtractor:
    """The extractor, compiled where that is wanted, the device is a GPU, and torch.fx can follow the network."""
    if not computing.compiles or not devices.accelerated(device):
        return extractor
    extractor.model.to(device)
    graph = graph_of(extractor)
    return extractor if graph is None else GraphExtractor(extractor, computing.compiled(graph, device))


def graph_of(extractor: FeatureExtractor) -> nn.Module | None:
    """Maps and logits of standardised images, without what follows the last map of an extractor that stops early.

    None for a network that torch.fx cannot follow, or not to the layers.
    """
    net = extractor.model.net
    try:
        graph = fx.symbolic_trace(net)
    except Exception as error:  # what tracing raises depends on the user's code
        if is_out_of_memory(error):
            raise
        return None
    names = {module: name for name, module in net.named_modules()}
    last = {node.target: node for node in graph.graph.nodes if node.op == "call_module"}
    # Modules within which tracing went on are no nodes.
    if any(names[tap.module] not in last for tap in extractor.taps.values()):
        return None
    nodes = {layer: (last[names[tap.module]], tap.taken) for layer, tap in extractor.taps.items()}
    maps = {layer: node.args[0] if taken else node for layer, (node, taken) in nodes.items()}
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    output.args = ((maps, None if extractor.stop_early and maps else output.args[0]),)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph.eval()
