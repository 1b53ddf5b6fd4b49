"""What the scripts that train share: a training that goes on where a stopped job left it, with progress and a log."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nndefense.core.command import Job
from nndefense.core.progress import Progress
from nndefense.core.seeds import derive_seed
from nndefense.models.history import write_history
from nndefense.models.pictures import Pictures

# Beside the weights. No output of the rule, which Snakemake would delete with a job that is stopped.
STATE = "training.state"


def run_training(
    arguments: argparse.Namespace,
    job: Job,
    model: Any,
    pictures: Pictures,
    recipe: Mapping[str, Any],
    decisive: Mapping[str, Any],
    device: str,
    **options: Any,
) -> list[dict[str, float]]:
    """Train `model` in place by the recipe; returns the history of its epochs.

    arguments: name, seed, threads, weights (path). decisive: what decides the weights besides the images; a state of
    other facts is left out. options: of `nndefense.models.train.train`, the objective among them.
    """
    from nndefense.models.train import train
    from nndefense.models.training_files import read_state, write_state
    from nndefense.models.training_state import fingerprint

    facts = fingerprint(decisive, pictures.images, pictures.labels)
    stored = Path(arguments.weights).with_name(STATE)
    state, sentence = read_state(stored, facts)
    job.say(sentence)
    steps = recipe["epochs"] * max(1, len(pictures.images) // recipe["batch"])
    with Progress(f"train {arguments.name}", steps, "steps", job.log) as progress:
        history = train(
            model,
            pictures.images,
            pictures.labels,
            epochs=recipe["epochs"],
            batch=recipe["batch"],
            learning_rate=recipe["learning_rate"],
            weight_decay=recipe["weight_decay"],
            flip=recipe["flip"],
            seed=derive_seed(arguments.seed, "train", arguments.name) % (1 << 31),
            device=device,
            threads=arguments.threads,
            resume=state,
            on_epoch=lambda reached: write_state(stored, reached, facts),
            on_step=lambda epoch, step, _, loss: progress.advance(
                step - progress.done, f"epoch {epoch}, loss {loss:.3f}"
            ),
            **options,
        )
    for entry in history:
        job.say("epoch {epoch}: loss {loss:.4f}, training accuracy {accuracy:.4f}".format(**entry))
    return history


def save_trained(
    arguments: argparse.Namespace,
    model: Any,
    settings: Mapping[str, Any],
    history: list[dict[str, float]],
    **about: Any,
) -> None:
    """Write the network, its history and what it is; after that the state of its training is of no use."""
    from nndefense.models.checkpoint import save_checkpoint

    common = {key: settings[key] for key in ("architecture", "mean", "std")}
    common |= {"name": arguments.name, "classes": arguments.classes}
    write_history(arguments.history, history)
    save_checkpoint(arguments.weights, arguments.description, model, {**common, **about})
    Path(arguments.weights).with_name(STATE).unlink(missing_ok=True)
