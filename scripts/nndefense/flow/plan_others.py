"""How many other jobs there are: those of networks, of other defences, of dictionaries, and of certified retrieval.

Of these, training on images as they are is reckoned; what the others take is not known here.
"""

from collections.abc import Iterable, Iterator

from nndefense.config import Config
from nndefense.config.models import RETRIEVAL, STANDARD
from nndefense.evaluation import KINDS, SUMMARIES
from nndefense.flow.batches import answered_batches
from nndefense.flow.costs import UNKNOWN, Job, counted_jobs
from nndefense.flow.dictionaries import dictionary_model, learnt_parts
from nndefense.flow.estimate import MB, SEAL, Estimate
from nndefense.flow.index_report import measured_indexes
from nndefense.flow.models import ancestors, surrogates, used_models
from nndefense.flow.needs import attack_needs, packs_needs
from nndefense.flow.queries import attacked_defenses, made_packs, worst_packs
from nndefense.flow.retrieval import checked_files, fitted_on, guards

# Files of the needs of attacks and defences that scripts make one by one, by the beginning of their names.
MADE = {
    "<results>/attackers/": "describe_attacker",
    "<results>/knn.json": "describe_defense",
    "<results>/patches/": "sample_patches",
    "<results>/tuned/": "tune_defense",
    "<results>/srd/oracle": "find_oracle",
}


def needed_files(config: Config) -> set[str]:
    """What attacks and defences need besides query sets and networks."""
    found = {path for pack in made_packs(config) for path in attack_needs(config, pack).files}
    for batch in answered_batches(config):
        for system in batch.systems:
            found |= set(packs_needs(config, system, batch.packs)[0].files)
    return found


def asked_models(config: Config) -> list[str]:
    """Networks that this run asks, and those that they are trained from."""
    found = [*used_models(config), *(one.model for one in config.defenses.values() if one.model)]
    found += [one.chooser for one in config.defenses.values() if getattr(one, "chooser", None)]
    found += [one.model for one in config.retrieval.embeddings.values()] if config.retrieval else []
    found += [dictionary_model(config)] if config.dictionaries else []
    return ancestors(config, [*found, *surrogates(config)])


def asked_sets(config: Config) -> list[str]:
    """Image sets that this run lists, in the configuration's order."""
    found = {config.queries.images, *(name for pool in config.pools.values() for name in pool.images)}
    for name in asked_models(config):
        recipe = config.models[name].train
        found |= {recipe.images, *([recipe.database.images] if recipe.method == RETRIEVAL else [])} if recipe else set()
    if config.retrieval:
        tasks, embeddings = config.retrieval.tasks.values(), config.retrieval.embeddings.values()
        found |= {name for one in tasks for name in (one.gallery, one.queries)}
        found |= {fitted_on(config, one) for one in embeddings} - {None}
    found |= {config.dictionaries.images} if config.dictionaries else set()
    found |= {config.validation.images} if any(one.tune for one in config.defenses.values()) else set()
    found |= {config.patches.images} if any("/patches/" in path for path in needed_files(config)) else set()
    return [name for name in config.images if name in found]


def other_counts(config: Config) -> dict[str, int]:
    """Jobs by script that are counted only, without those of figures, tables and pages."""
    found = {"load_model": sum(config.models[name].train is None for name in asked_models(config))}
    for path in needed_files(config):
        for start, script in MADE.items():
            found[script] = found.get(script, 0) + path.startswith(start)
    found["attack_defense"] = sum(len(worst_packs(config, one)) for one in attacked_defenses(config))
    found["evaluate_defense"] = sum(len(batch.systems) for batch in answered_batches(config))
    found["collect_rows"] = len(KINDS)
    found["summarize_rows"] = len(attacked_defenses(config)) * len(SUMMARIES)
    found["measure_index"] = len(measured_indexes(config))
    found |= _dictionary_counts(config) | _retrieval_counts(config)
    return {name: count for name, count in found.items() if count}


def _dictionary_counts(config: Config) -> dict[str, int]:
    if config.dictionaries is None:
        return {}
    once = ("extract_latents", "find_clusters", "gather_dictionaries", "purify_images")
    return {**dict.fromkeys(once, 1), "learn_dictionaries": len(learnt_parts(config))}


def _retrieval_counts(config: Config) -> dict[str, int]:
    every, section = guards(config), config.retrieval
    if section is None:
        return {}
    fitted = {(one.embedding, one.sigma) for one in every if fitted_on(config, section.embeddings[one.embedding])}
    return {
        "draw_task": len({one.task for one in every}),
        "fit_embedding": len(fitted),
        **dict.fromkeys(("smooth_gallery", "draw_queries", "measure_retrieval"), len(every)),
        "certify_queries": len(every) * len(section.certificates),
        "attack_retrieval": len(every) if section.attack else 0,
        "check_certificates": len(checked_files(config)),
    }


def other_jobs(at: Estimate, more: Iterable[tuple[str, int]] = ()) -> Iterator[Job]:
    """Training, and jobs that are counted only; more: scripts and their number of jobs besides."""
    yield from training_jobs(at)
    for script, count in [*other_counts(at.config).items(), *more]:
        yield from counted_jobs(script, count)


def training_jobs(at: Estimate) -> Iterator[Job]:
    """Networks that are trained here."""
    start = at.started("torch")
    for name in asked_models(at.config):
        recipe = at.config.models[name].train
        if recipe is None:
            continue
        network, rows = at.network(name, at.facts.side([recipe.images])), at.set_rows(recipe.images)
        # Other ways to train ask other networks besides, or make images.
        steps = recipe.epochs * rows if recipe.method == STANDARD else UNKNOWN
        flop = 3 * steps * (network.flop if network else UNKNOWN)
        side = at.facts.sides.get(recipe.images)
        pixels, held = (3 * side**2, network.held_backward) if side and network else (UNKNOWN, UNKNOWN)
        yield Job(
            script="train_racnn" if recipe.method == RETRIEVAL else "train_model",
            rows=rows,
            written=network.weights + 4 * SEAL if network else UNKNOWN,
            forward=steps,
            backward=steps,
            flop=flop,
            serial=start.seconds + at.opened_seconds + rows * at.reading_images([recipe.images]),
            parallel=steps * at.forward_seconds(network) * at.training_factor(network),
            device=at.device_seconds(flop),
            threads=recipe.threads,
            megabytes=start.megabytes + at.opened_megabytes + (rows * pixels + recipe.batch * 2 * held) / MB,
        )
