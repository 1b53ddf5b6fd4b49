"""Say what images show, by smoothed retrieval, and how far each may be changed without changing that.

A radius is an l2 distance of images in [0, 1], brought to the size of the experiment's. It is proven but for a
probability, alpha, over noise that is drawn for each image. Two decisions are certified, of which either may be
deployed: the label next to the mean embedding over all noise (certificates linear, gaussian and cdf), and the label
that most noisy copies are next to (vote). Of each the certificate of the largest radius counts, at alpha in all.
The retrieval is described by results/retrievalguard/TASK/EMBEDDING/sigma-SIGMA/system.json, which Snakemake makes.
"""

import argparse
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nndefense.certificates import CERTIFICATES
from nndefense.commands.images import check_suffix, find_images, in_columns, printable, suffix, tell_skipped
from nndefense.core.errors import InputError
from nndefense.core.files import write_text
from nndefense.core.text import visible

if TYPE_CHECKING:
    from nndefense.evaluation.certifying import Answer
    from nndefense.evaluation.guarded_system import GuardedSystem

COLUMNS = ("image", "prediction", "radius", "certificate", "decision", "alpha")
ABSTAINS = "abstain"
BATCH = 64


class Answers(NamedTuple):
    """What an image's file is called, and what every decision answers to it."""

    name: str
    decisions: "list[Answer]"


@dataclass(frozen=True)
class Noise:
    """Where the noise of a call comes from.

    Attributes:
        seed: of it. given: whether it was named, so that others may know it.
    """

    seed: int
    given: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    parser.add_argument("--run", help="name of the run: results/RUN instead of results")
    parser.add_argument("--results", default="results", help="folder of results (default: results)")
    parser.add_argument("--system", metavar="TASK/EMBEDDING/sigma-SIGMA", help="the retrieval (default: the only one)")
    parser.add_argument(
        "--certificate",
        choices=list(CERTIFICATES),
        help="the certificate (default: of each decision the one of the largest radius)",
    )
    parser.add_argument("--draws", type=int, help="noisy copies that certify an answer (default: as in the run)")
    parser.add_argument(
        "--seed", type=int, help="of the noise, to reproduce answers (default: the operating system's entropy)"
    )
    parser.add_argument("--output", help="table to write: .csv or .json")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="what to compute on (default: cpu)")


def main(arguments: argparse.Namespace) -> int:
    """Answer, print and write; the exit code is 1 where no image can be read."""
    check_arguments(arguments)
    from nndefense.evaluation.certifying import fresh_seed

    system = open_system(arguments)
    given = arguments.seed is not None
    noise = Noise(arguments.seed if given else fresh_seed(), given)
    paths, skipped = find_images(arguments.images)
    answers: list[Answers] = []
    for found, bad in certify(system, paths, noise, arguments.device) if paths else ():
        answers += found
        skipped |= bad
    tell_skipped(skipped, len(answers))
    if not answers:
        return 1
    print(table(answers, system), *map(visible, remarks(answers, system, noise)), sep="\n")
    if arguments.output:
        write_text(
            arguments.output,
            as_json(answers, skipped, system, noise) if suffix(arguments.output) == "json" else as_csv(answers, system),
        )
    return 0


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises InputError for an option out of range."""
    check_suffix("--output", arguments.output, ("csv", "json"))
    for name, least in (("draws", 2), ("seed", 0)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise InputError(f"--{name} is {value}; allowed: an integer >= {least}")
    if arguments.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: this torch has no usable CUDA; allowed: cpu")


def open_system(arguments: argparse.Namespace) -> "GuardedSystem":
    """The described retrieval that the options name, with the draws and the certificate that they ask for."""
    from nndefense.evaluation.guarded_system import find_guarded, read_guarded

    results = Path(arguments.results, arguments.run) if arguments.run else Path(arguments.results)
    system = read_guarded(find_guarded(results, arguments.system or only_system(results)))
    certificates = [arguments.certificate] if arguments.certificate else system.certificates
    return replace(system, draws=arguments.draws or system.draws, certificates=certificates)


def only_system(results: Path) -> str:
    """The retrieval that a folder of results describes. InputError where there is none, or there are several."""
    from nndefense.evaluation.guarded_system import FILE, FOLDER, list_guarded

    names = list_guarded(results)
    if not names:
        pattern = f"{results}/{FOLDER}/TASK/EMBEDDING/sigma-SIGMA/{FILE}"
        raise InputError(f"{results}: describes no smoothed retrieval; `snakemake {pattern}` prepares one")
    if len(names) > 1:
        raise InputError(f"--system: missing, {results} describes several; allowed: {', '.join(names)}")
    return names[0]


def certify(
    system: "GuardedSystem", paths: Sequence[Path], noise: Noise, device: str
) -> Iterator[tuple[list[Answers], dict[Path, str]]]:
    """Answers to the images of each batch, and the reasons why others have none."""
    from nndefense.core.progress import Progress, blocks
    from nndefense.core.seeds import derive_seed
    from nndefense.evaluation.certifying import certify_images
    from nndefense.evaluation.guarded_system import open_guarded
    from nndefense.images.decode import read_files

    embedding, gallery = open_guarded(system, device)
    with Progress("certify", len(paths) * (system.first + system.draws), "noisy copies") as progress:
        for block in blocks(len(paths), BATCH):
            names = paths[block]
            batch = read_files(names, system.size, system.resize, system.crop)
            good = [place for place in range(len(names)) if place not in batch.skipped]
            found = certify_images(
                embedding,
                batch.images[good],
                # Places among all images: no two of them share their noise.
                block.start + np.array(good, dtype=np.int64),
                gallery,
                system.certificates,
                sigma=system.sigma,
                alpha=system.alpha,
                first=system.first,
                draws=system.draws,
                seed=derive_seed(noise.seed, "certify", system.name),
                batch=system.batch,
                device=device,
                on_draws=progress.advance,
            )
            named = [Answers(printable(names[place]), own) for place, own in zip(good, found, strict=True)]
            yield named, {names[place]: reason for place, reason in sorted(batch.skipped.items())}


def table(answers: Sequence[Answers], system: "GuardedSystem") -> str:
    """The answers as text in columns; radii are rounded down."""
    from nndefense.evaluation.guarded import RULES
    from nndefense.report.guarded import RULE_NAMES

    lines = [("image", "prediction", "radius", "certificate", "decision")]
    for name, decisions in answers:
        for one in decisions:
            shown = f"{math.floor(one.radius * 1e4) / 1e4:.4f}" if math.isfinite(one.radius) else "any"
            proof = ", ".join(one.certificates)
            lines.append((name, label_name(one, system) or ABSTAINS, shown, proof, RULE_NAMES[RULES[one.decision]]))
    return in_columns(lines)


def label_name(one: "Answer", system: "GuardedSystem") -> str | None:
    """The class that is answered; None where it abstains."""
    return system.class_names[one.label] if one.label >= 0 else None


def remarks(answers: Sequence[Answers], system: "GuardedSystem", noise: Noise) -> list[str]:
    """What the table does not tell: of how many draws it is, how sure, and whether its noise was fresh."""
    count = sum(len(one.decisions) for one in answers)
    origin = (
        f"seed {noise.seed} was given, which reproduces answers; radii are proven only where nobody could foresee it"
        if noise.given
        else f"fresh; --seed {noise.seed} reproduces these answers"
    )
    return [
        f"{system.name}: radii are l2 distances of images in [0, 1] at {system.size} pixels, by {system.draws:,} draws",
        f"alpha {system.alpha:g}: the probability, for each answer, that its radius is too large; that any of these "
        f"{count} is, at most {min(1.0, count * system.alpha):g}",
        f"noise: {origin}",
    ]


def answer_rows(answers: Sequence[Answers], system: "GuardedSystem") -> list[dict[str, Any]]:
    """COLUMNS of every answer; no prediction where it abstains."""
    return [
        {
            "image": name,
            "prediction": label_name(one, system),
            # JSON has no infinity; Python and others read this text as a number.
            "radius": one.radius if math.isfinite(one.radius) else "inf",
            "certificate": ", ".join(one.certificates),
            "decision": one.decision,
            "alpha": system.alpha,
        }
        for name, decisions in answers
        for one in decisions
    ]


def as_csv(answers: Sequence[Answers], system: "GuardedSystem") -> str:
    """One line of COLUMNS for each answer."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answer_rows(answers, system))
    return text.getvalue()


def as_json(answers: Sequence[Answers], skipped: dict[Path, str], system: "GuardedSystem", noise: Noise) -> str:
    """The answers, by what they are certified, and the images that cannot be read."""
    content = {
        "system": system.name,
        "gallery_sha256": system.gallery_sha256,
        "sigma": system.sigma,
        "alpha": system.alpha,
        "first": system.first,
        "draws": system.draws,
        "seed": noise.seed,
        "fresh": not noise.given,
        "answers": answer_rows(answers, system),
        "skipped": [{"image": printable(path), "reason": reason} for path, reason in skipped.items()],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
