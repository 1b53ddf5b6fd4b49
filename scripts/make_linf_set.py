"""Attack the clean query set with an l-infinity budget on [0, 1] pixels, through one network, at every budget."""

import argparse

from nndefense.command import Job, parser, run
from nndefense.files import read_arrays, write_arrays
from nndefense.progress import Progress


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.attacks.linf_sets import attack_linf
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    model, about = open_checkpoint(arguments.model)
    model = freeze(model).to(device)
    clean = read_arrays(arguments.clean, "images", "labels", "rows")
    total = len(clean["labels"]) * len(arguments.epsilons)
    with Progress(f"{arguments.attack} on {about['name']}", total, "images", job.log) as progress:
        for epsilon, path in zip(arguments.epsilons, arguments.outputs, strict=True):
            attacked = attack_linf(
                model,
                clean,
                arguments.attack,
                epsilon=epsilon,
                steps=arguments.steps,
                batch=arguments.batch,
                on_batch=progress.advance,
            )
            job.say(f"epsilon {epsilon:g}: largest change of a pixel {attacked['linf'].max():.6f}")
            write_arrays(path, **attacked)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--model", required=True, help="model.json of the attacked network")
    options.add_argument("--attack", required=True, help="fgsm or ifgsm")
    options.add_argument("--epsilons", type=float, nargs="+", required=True, help="largest changes of a pixel")
    options.add_argument("--steps", type=int, default=10, help="gradient steps of ifgsm")
    options.add_argument("--batch", type=int, default=125, help="images attacked at once")
    options.add_argument("--outputs", nargs="+", required=True, help=".npz to write, one per budget")
    run(main, options.parse_args())
