"""Inputs and parameters of the rules of smoothed retrieval."""

from nndefense.certificates import CERTIFICATES
from nndefense.flow.retrieval import (
    ROOT,
    Guard,
    certificate_files,
    fitted_on,
    guard_sigmas,
    task_file,
    transform_file,
)


def embedding_of(wildcards):
    """The embedding of a job."""
    return CONFIG.retrieval.embeddings[wildcards.embedding]


def embedding_model(wildcards, file):
    """A file of the network that an embedding asks."""
    return f"<results>/models/{embedding_of(wildcards).model}/{file}"


def transform_of(wildcards):
    """What is done to a network's features; none where it is nothing."""
    fitted = fitted_on(CONFIG, embedding_of(wildcards))
    return [transform_file(wildcards.embedding, float(wildcards.sigma))] if fitted else []


def every_certificate(wildcards):
    """What all certificates say of a retrieval."""
    return certificate_files(CONFIG, Guard.of(wildcards))


def asked_of_network():
    """Inputs of a job that asks a network about a task's images."""
    return {
        "task": lambda wildcards: task_file(wildcards.task),
        "model": lambda wildcards: embedding_model(wildcards, "model.json"),
        "weights": lambda wildcards: embedding_model(wildcards, "weights.safetensors"),
        "transform": transform_of,
    }


def task_sets(wildcards):
    """The image sets of a task's two sides."""
    task, found = CONFIG.retrieval.tasks[wildcards.task], {}
    for side in ("gallery", "queries"):
        found[side] = set_file(getattr(task, side), "set.json")
        found[f"{side}_manifest"] = set_file(getattr(task, side), "manifest.parquet")
    return found


def task_job(wildcards):
    """Parameters of draw_task."""
    task = CONFIG.retrieval.tasks[wildcards.task]
    return job(
        "draw_task",
        *image_targets(CONFIG, task.gallery, task.queries),
        gallery_count=task.gallery_count,
        queries_count=task.queries_count,
        same_set=task.gallery == task.queries,
        seed=CONFIG.seed,
        skip_limit=CONFIG.skip_limit,
        task=wildcards.task,
    )


def fit_job(wildcards):
    """Parameters of fit_embedding."""
    one = embedding_of(wildcards)
    return job(
        "fit_embedding",
        *image_targets(CONFIG, fitted_on(CONFIG, one)),
        *architecture_targets(CONFIG, one.model),
        batch=CONFIG.features.batch,
        count=one.fit_count,
        name=wildcards.embedding,
        output=one.output,
        seed=CONFIG.seed,
        sigma=float(wildcards.sigma),
        skip_limit=CONFIG.skip_limit,
        transform=one.transform,
    )


def guard_job(program, wildcards, **values):
    """Parameters of a job that asks a network about a task's images."""
    one = embedding_of(wildcards)
    return job(
        program,
        *architecture_targets(CONFIG, one.model),
        batch=CONFIG.features.batch,
        name=str(Guard.of(wildcards)),
        output=one.output,
        seed=CONFIG.seed,
        sigma=float(wildcards.sigma),
        **values,
    )


def breaking_job(program, wildcards):
    """Parameters of a job that attacks a retrieval."""
    attack = CONFIG.retrieval.attack
    if program == "attack_retrieval":
        own = {"count": attack.count, "fresh": attack.fresh, "radii": attack.radii}
    else:
        own = {"fresh": attack.certified, "names": CONFIG.retrieval.certificates}
    return guard_job(program, wildcards, draws=attack.draws, steps=attack.steps, **own)
