"""A retrieval-augmented network as a defence (Zhao & Cho, SysML 2018 and arXiv 1802.09502).

Its own gradient takes the neighbours as given. An attacker who knows it also moves the query among them: the candidates
around the query take part in the attention as far as they are within reach of the search.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from nndefense.core.errors import InputError
from nndefense.core.options import Count, Positive
from nndefense.defenses.base import Bound, Context, Model
from nndefense.defenses.retrained import Retrained
from nndefense.models.computing import asked
from nndefense.models.memory import Memory
from nndefense.models.racnn import RetrievalAugmented
from nndefense.models.racnn_training import standardized
from nndefense.models.standardize import Standardized
from nndefense.retrieval.soft_votes import reach


@dataclass(frozen=True, kw_only=True)
class RetrievalAugmentedNetwork(Retrained):
    """The retrieval-augmented network that `defenses.{name}.model` names answers in the target's place."""

    temperature: Annotated[
        Positive, Field(description="Of the surrogate's soft search; 0 would be the exact network.")
    ] = 1.0
    candidates: Annotated[
        Count, Field(description="Candidates of the surrogate, in multiples of the network's neighbors.")
    ] = 10

    def bind(self, model: nn.Module, context: Context | None = None) -> Bound:
        """The defence, deployed.

        Args:
            model: as of `Defense.bind`, `Standardized` around a `RetrievalAugmented`.
            context: as of `Defense.bind`; nothing is needed.

        Raises:
            InputError: another network.
        """
        require_retrieval(model)
        return super().bind(model, context)

    def differentiable(self, model: Any, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        net = require_retrieval(model)
        memory, count = net.memory, net.options.neighbors
        shown = standardized(model, images)
        features = asked(net.phi, shown)
        queries = net.embed(shown, features)
        places, valid = candidates_of(memory, queries.detach(), count, min(self.candidates * count, len(memory.keys)))
        distances = squared(queries, memory.keys[places])
        border, _ = reach(distances.detach(), valid, count)
        within = logsigmoid((border - distances) / (self.temperature * border)).masked_fill(~valid, -torch.inf)
        stored = memory.features[places]
        scores = torch.matmul(stored, torch.matmul(features, net.attention.weight).unsqueeze(2)).squeeze(2)
        # Not by the attention's weights, where what is far away may have left nothing of what is near.
        weights = torch.softmax(scores + within, dim=1)
        return net.classify(weights, stored, memory.labels[places])


def require_retrieval(model: Model) -> RetrievalAugmented:
    """The network within. Raises InputError where the model is no `Standardized` around a `RetrievalAugmented`."""
    if isinstance(model, Standardized) and isinstance(model.net, RetrievalAugmented):
        return model.net
    own = model.architecture if isinstance(model, Standardized) else f"a bare {type(model).__name__}"
    raise InputError(f"defense racnn needs a retrieval-augmented network (architecture racnn), standardised; got {own}")


def candidates_of(memory: Memory, queries: Tensor, count: int, most: int) -> tuple[Tensor, Tensor]:
    """Places in memory of candidates, (B, M) int64, and which of them count, (B, M) bool.

    Those that count are the neighbours that the network finds, and of the `most` nearest those beyond them.

    Args:
        memory: of the network.
        queries: (B, key dimension), without gradient.
        count: neighbours of the network.
        most: >= count.
    """
    places = memory.nearest(queries, most)
    if memory.engine == "exact":
        return places, torch.ones_like(places, dtype=torch.bool)
    # Hash tables miss rows. A search for more may find them, but the network answers without them.
    near = memory.nearest(queries, count)
    distances = squared(queries, memory.keys[places])
    last = squared(queries, memory.keys[near]).amax(dim=1, keepdim=True)
    beyond = (distances >= last) & (places[:, :, None] != near[:, None]).all(dim=2)
    return torch.cat([near, places], dim=1), torch.cat([torch.ones_like(near, dtype=torch.bool), beyond], dim=1)


def squared(queries: Tensor, keys: Tensor) -> Tensor:
    """Squared distances (B, M) from queries (B, d) to keys (B, M, d)."""
    return (queries[:, None] - keys).square().sum(dim=2)
