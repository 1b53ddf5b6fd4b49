"""Inputs and parameters of the rules of dictionaries, and of options chosen on validation images."""

from nndefense.axes.numbers import number_text
from nndefense.flow.dictionaries import (
    CENTRAL,
    CLUSTERS,
    DICTIONARIES,
    LATENTS,
    ORACLE,
    PURIFIED,
    WHOLE,
    dictionary_model,
    learnt_parts,
    part_file,
)
from nndefense.flow.queries import shown_pack


def learnt_from(wildcards):
    """The images that dictionaries are learnt from."""
    return set_file(CONFIG.dictionaries.images, "set.json")


def clusters_of(wildcards):
    """The clusters that a model is trained by; none where its method asks for none."""
    return [CLUSTERS] if "clusters" in method_needs(CONFIG, wildcards.model) else []


def latents_job(wildcards):
    """Parameters of extract_latents."""
    return job(
        "extract_latents",
        *image_targets(CONFIG, CONFIG.dictionaries.images),
        *architecture_targets(CONFIG, dictionary_model(CONFIG)),
        batch=CONFIG.features.batch,
        classes=CONFIG.classes,
        skip_limit=CONFIG.skip_limit,
    )


def learning_job(wildcards):
    """Parameters of learn_dictionaries."""
    section, values = CONFIG.dictionaries, CONFIG.dictionaries.learning.model_dump(exclude={"jobs"})
    whole = wildcards.part == WHOLE
    first, _, jobs = ("", "", "") if whole else wildcards.part.partition("of")
    return job(
        "learn_dictionaries",
        *image_targets(CONFIG, section.images),
        jobs=None if whole else int(jobs),
        part=None if whole else int(first),
        seed=CONFIG.seed,
        **values,
    )


def clean_set_job(section, key):
    """Parameters of make_clean_set, of the test images or of others."""
    return job(
        "make_clean_set",
        *image_targets(CONFIG, section.images),
        classes=CONFIG.classes,
        count=section.count,
        key=key,
        seed=CONFIG.seed,
        skip_limit=CONFIG.skip_limit,
    )


def tuning_job(wildcards):
    """Parameters of tune_defense."""
    found = defense_needs(CONFIG, wildcards.defense, tuned=False)
    return answering(
        "tune_defense",
        wildcards.defense,
        found,
        batch=CONFIG.attacks.batch,
        loss=CONFIG.validation.loss,
        tune=CONFIG.defenses[wildcards.defense].tune,
    )


def purified_job(wildcards):
    """Parameters of purify_images."""
    shown, pack = CONFIG.dictionaries.shown, shown_pack(CONFIG)
    return answering("purify_images", shown, defense_needs(CONFIG, shown, pack), member=number_text(pack.epsilons[0]))
