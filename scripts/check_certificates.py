"""Attack every certified answer at 0.95 of its radius, and ask again with fresh noise: none may have changed."""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, breaking_options, parser, run
from nndefense.core.errors import InputError
from nndefense.core.progress import Progress
from nndefense.evaluation.guarded import decision_of

# Of the certified radius; the rest leaves room for rounding.
WITHIN = 0.95
# Infinite radii, of galleries with one class, are attacked at this one.
FARTHEST = 10.0


def strongest(paths: list[str], names: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each decision rule the certified classes (n,) and the largest radius (n,) that a certificate proves."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for path, name in zip(paths, names, strict=True):
        stored = read_arrays(path, "classes", "radius")
        rule = decision_of(name)
        classes, radius = found.get(rule, (stored["classes"], np.zeros(len(stored["radius"]))))
        larger = stored["radius"] > radius
        if ((stored["radius"] > 0) & (radius > 0) & (stored["classes"] != classes)).any():
            raise InputError(f"{path}: certifies another answer than the other certificates of the same decision")
        found[rule] = np.where(larger, stored["classes"], classes), np.where(larger, stored["radius"], radius)
    return found


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.evaluation.breaking import open_breakers
    from nndefense.models.predict import image_batch

    task = read_arrays(arguments.task, "queries/images", "queries/rows")
    certified = strongest(arguments.certificates, arguments.names)
    breakers = open_breakers(arguments, device)
    parts: dict[str, list[np.ndarray]] = {}
    with Progress("attack certified answers", None, "queries", job.log) as progress:
        for rule, (classes, radius) in certified.items():
            own = np.flatnonzero(radius > 0)
            if not len(own):
                continue
            images = image_batch(task["queries/images"][own], slice(None), device)
            within = WITHIN * np.minimum(radius[own], FARTHEST)
            rows, labels = task["queries/rows"][own], classes[own]
            attacked = breakers[rule].attack(images, labels, within, None)
            answered, draws = breakers[rule].decided(attacked, rows)
            distance = (attacked.double() - images.double()).flatten(1).norm(dim=1).cpu().numpy()
            progress.advance(len(own))
            changed = int((answered != labels).sum())
            job.say(
                f"{rule}: {changed} of {len(own)} certified answers changed within {WITHIN:g} of their radius "
                f"(mean {radius[own].mean():.3f}), by {draws.mean():,.0f} fresh draws each"
            )
            named = {"rule": np.full(len(own), rule), "rows": rows, "radius": radius[own], "distance": distance}
            for name, values in (named | {"certified": labels, "answered": answered, "draws": draws}).items():
                parts.setdefault(name, []).append(values)
    nothing = {name: [np.zeros(0)] for name in ("answered", "certified", "distance", "draws", "radius", "rows")}
    parts = parts or nothing | {"rule": [np.zeros(0, dtype=np.str_)]}
    write_arrays(arguments.file, **{name: np.concatenate(values) for name, values in parts.items()})


if __name__ == "__main__":
    options = breaking_options(parser(__doc__, torch=True))
    options.add_argument("--certificates", nargs="+", required=True, help="what certificates say, .npz")
    options.add_argument("--names", nargs="+", required=True, help="their names, in the same order")
    options.add_argument("--file", required=True, help=".npz to write")
    run(main, options.parse_args())
