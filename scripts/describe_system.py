"""Describe a defended system: network, statistics and files, relative to the description, options and result columns.

`nndefense rescore` opens it, to put images of any origin to the exact defence.
"""

import argparse
import json
from pathlib import Path

from nndefense.axes.cells import NEIGHBORS, System
from nndefense.core.command import Job, need_options, parser, run
from nndefense.core.files import write_json
from nndefense.core.seeds import derive_seed
from nndefense.defenses.deployed import read_deployed
from nndefense.evaluation.systems import DefendedSystem, system_json


def main(arguments: argparse.Namespace, job: Job) -> None:
    name = arguments.defense
    options, columns = json.loads(arguments.options), System.plain(name)
    if name == NEIGHBORS:
        deployed = read_deployed(arguments.files[0])
        options = deployed.options
        votes = (options["k"], options["weighting"], options["combination"])
        columns = System(deployed.pool_name, deployed.images, deployed.layer, *votes, name)
    system = DefendedSystem(
        name=name,
        kind=arguments.kind,
        label=arguments.label,
        options=options,
        model=arguments.model,
        target=arguments.target,
        roles=arguments.roles,
        files=arguments.files,
        readers=json.loads(arguments.readers),
        facts=json.loads(arguments.facts),
        draws=derive_seed(arguments.seed, "defense", name),
        batch=arguments.batch,
        dataset=arguments.dataset,
        seed=arguments.seed,
        model_name=arguments.model_name,
        columns=columns,
        clean=arguments.clean,
    )
    write_json(arguments.output, system_json(system, Path(arguments.output).parent))
    job.say(f"{arguments.label}: {arguments.kind} with {', '.join([arguments.model, *arguments.files])}")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--model", required=True, help="model.json of the network that the defence asks")
    options.add_argument("--target", required=True, help="model.json of the model that defines the standardized space")
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--defense", required=True, help="name of the defence")
    options.add_argument("--kind", required=True, help="its kind, a registered defence")
    options.add_argument("--label", required=True, help="what tables and figures call it")
    options.add_argument(
        "--options", default="{}", help="its options, as JSON; those of knn are in its own description"
    )
    options.add_argument("--batch", type=int, default=125, help="images answered at once")
    options.add_argument("--dataset", required=True, help="for the result rows")
    options.add_argument("--model-name", required=True, help="for the result rows")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help="JSON to write")
    run(main, need_options(options).parse_args())
