"""Attack a retrieval at every radius: PGD on the base model, PGD through averages over noise on the smoothed one.

Answers to attacked images are by fresh noise, drawn after the attack. Each radius starts from the images of the one
before it.
"""

import argparse
from typing import Any

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, breaking_options, parser, run
from nndefense.core.progress import Progress


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.evaluation.breaking import open_breakers
    from nndefense.models.predict import image_batch

    task = read_arrays(arguments.task, "queries/images", "queries/labels", "queries/rows")
    chosen = slice(0, arguments.count)
    labels, rows = (task[f"queries/{name}"][chosen] for name in ("labels", "rows"))
    images = image_batch(task["queries/images"], chosen, device)
    radii = sorted(arguments.radii)
    arrays: dict[str, Any] = {"labels": labels, "radii": radii, "rows": rows}
    with Progress("attack", 3 * len(radii), "radii", job.log) as progress:
        for rule, attacker in open_breakers(arguments, device).items():
            answered = arrays[f"{rule}/clean"] = attacker.answers(images, rows)
            found, attacked = [], images.clone()
            for radius in radii:
                # An image that a smaller radius broke stays as it is.
                left = np.flatnonzero(answered == labels)
                if len(left):
                    attacked[left] = attacker.attack(images[left], labels[left], radius, attacked[left])
                    answered = answered.copy()
                    answered[left] = attacker.answers(attacked[left], rows[left])
                found.append(answered)
                share = float((answered == labels).mean())
                progress.advance(1, f"{rule} at {radius:g}: {share:.3f} right")
                job.say(f"{rule}, radius {radius:g}: {share:.3f} of {len(labels)} queries right")
            arrays[f"{rule}/classes"] = np.stack(found)
    write_arrays(arguments.file, **arrays)


if __name__ == "__main__":
    options = breaking_options(parser(__doc__, torch=True))
    options.add_argument("--count", type=int, required=True, help="queries that are attacked, the first ones")
    options.add_argument("--radii", type=float, nargs="+", required=True, help="l2 distances of images in [0, 1]")
    options.add_argument("--file", required=True, help=".npz to write")
    run(main, options.parse_args())
