"""Answer packs of query sets with a defence that has no database, or with the bare network."""

import argparse
import json
from typing import Any

import numpy as np

from nndefense.axes.cells import System
from nndefense.axes.queries import Pack, QuerySet
from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job, need_options, parser, run
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import read_context
from nndefense.evaluation.outcomes import read_queries, write_predictions
from nndefense.images.classes import check_network


class Answering:
    """A defence, opened when it is first asked; what it needs is read again only where a pack needs something else."""

    def __init__(self, arguments: argparse.Namespace, job: Job) -> None:
        self.arguments, self.job = arguments, job
        self.network, self.used, self.bound = None, None, None

    def context(self, used: list[int], network: Any) -> dict[str, Any]:
        """What the files at these places say."""
        given = self.arguments
        roles, files = ([values[place] for place in used] for values in (given.roles, given.files))
        return read_context(roles, files, json.loads(given.readers), json.loads(given.facts), network)

    def answer(self, pack: Pack, path: str, rows: np.ndarray, used: list[int]) -> dict[QuerySet, np.ndarray]:
        """Predicted classes (n,) by query set."""
        if "answers" in [self.arguments.roles[place] for place in used]:
            (values,) = self.context(used, None).values()
            return dict(zip(pack, values.argmax(1).reshape(len(pack.epsilons), -1), strict=True))
        return self._computed(pack, path, rows, used)

    def _computed(self, pack: Pack, path: str, rows: np.ndarray, used: list[int]) -> dict[QuerySet, np.ndarray]:
        given, found = self.arguments, {}
        self._bind(used)
        from nndefense.defenses.batches import answers_in_batches

        with Progress(f"{given.defense} {pack}", len(rows) * len(pack.epsilons), "images", self.job.log) as progress:
            for queries in pack:
                probabilities = answers_in_batches(
                    self.bound,
                    read_arrays(path, f"{queries.member}/images")[f"{queries.member}/images"],
                    rows,
                    seed=derive_seed(given.seed, "defense", given.defense),
                    batch=given.batch,
                    on_batch=progress.advance,
                )
                found[queries] = probabilities.argmax(1)
        return found

    def _bind(self, used: list[int]) -> None:
        if self.bound is not None and self.used == used:
            return
        given = self.arguments
        if self.network is None:
            device = self.job.torch_device()
            from nndefense.models.build import freeze
            from nndefense.models.checkpoint import open_checkpoint

            self.network = freeze(open_checkpoint(given.model)[0]).to(device)
        defense = make("defense", DEFENSES, given.kind, json.loads(given.options))
        self.bound, self.used = defense.bind(self.network, self.context(used, self.network)), used


def main(arguments: argparse.Namespace, job: Job) -> None:
    answering = Answering(arguments, job)
    parts = zip(arguments.names, arguments.queries, arguments.used, arguments.predictions, strict=True)
    for name, path, used, output in parts:
        pack = Pack.parse(name)
        check_network(read_json(arguments.model), path)
        stored = read_queries(path, pack)
        found = answering.answer(pack, path, stored.rows, used)
        predicted = {(one, System.plain(arguments.defense)): classes for one, classes in found.items()}
        write_predictions(output, stored.labels, stored.rows, predicted, stored.delta, stored.doubts)
        for one, classes in found.items():
            job.say(f"{one}: {(classes == stored.labels).mean():.4f} of {len(classes):,} right")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument(
        "--names", nargs="+", required=True, help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]"
    )
    options.add_argument("--queries", nargs="+", required=True, help="their query sets (.npz), in the same order")
    options.add_argument(
        "--used", nargs="+", type=json.loads, required=True, help="places among --files of what each needs, JSON lists"
    )
    options.add_argument("--defense", required=True, help="name of the defence")
    options.add_argument("--kind", required=True, help="its kind, a registered defence")
    options.add_argument("--options", default="{}", help="its options, as JSON")
    options.add_argument("--batch", type=int, default=125, help="images defended at once")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--predictions", nargs="+", required=True, help=".npz to write, of each pack")
    run(main, need_options(options).parse_args())
