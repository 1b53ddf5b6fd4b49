"""Parameters of jobs: what each is given of the configuration, and the registered code that it finds by name."""


def training_job(program):
    """Parameters of a rule that trains."""
    return lambda wildcards: job(
        program,
        *training_targets(CONFIG, wildcards.model),
        batch=CONFIG.features.batch if program == "train_racnn" else None,
        classes=CONFIG.classes,
        model=CONFIG.models[wildcards.model].model_dump(),
        name=wildcards.model,
        seed=CONFIG.seed,
        skip_limit=CONFIG.skip_limit,
    )


def asked_network(defense):
    """The network that a defence asks: the target, or one of its own."""
    return attacked_model(CONFIG, Threat(ADAPTIVE, defense))


def answering(program, defense, found, **values):
    """Parameters of a job that puts images to a defence; found: what it needs."""
    return job(
        program,
        *found.targets,
        *architecture_targets(CONFIG, asked_network(defense)),
        defense=defense,
        facts=found.facts,
        kind=defense_kind(CONFIG, defense),
        options=defense_options(CONFIG, defense),
        readers=found.readers,
        roles=found.roles,
        seed=CONFIG.seed,
        **values,
    )


def defense_job(packs):
    """Parameters of evaluate_defense for these packs."""

    def values(wildcards):
        found, used = packs_needs(CONFIG, wildcards.defense, packs)
        return answering(
            "evaluate_defense",
            wildcards.defense,
            found,
            batch=CONFIG.attacks.batch,
            names=list(map(str, packs)),
            used=used,
        )

    return values


def system_job(wildcards):
    """Parameters of describe_system."""
    defense, found = wildcards.defense, system_needs(wildcards)
    kind, own = defense_kind(CONFIG, defense), CONFIG.defenses.get(defense)
    return job(
        "describe_system",
        batch=CONFIG.attacks.batch,
        dataset=CONFIG.dataset,
        defense=defense,
        facts=found.facts,
        kind=kind,
        label=(own and own.label) or DEFENSES[kind].label,
        model_name=TARGET,
        options=defense_options(CONFIG, defense),
        readers=found.readers,
        roles=found.roles,
        seed=CONFIG.seed,
    )
