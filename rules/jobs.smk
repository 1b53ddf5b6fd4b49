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


def attack_job(program, wildcards, *targets, **values):
    """Parameters of a job that runs an attack."""
    threat = Threat.parse(wildcards.threat)
    return job(
        program,
        ATTACKS[wildcards.attack].target,
        *targets,
        *architecture_targets(CONFIG, attacked_model(CONFIG, threat)),
        attack=wildcards.attack,
        ball=wildcards.ball,
        batch=CONFIG.attacks.batch,
        options=method_options(CONFIG, Ball.parse(wildcards.ball), threat, wildcards.attack),
        **values,
    )


def attack_set_job(wildcards):
    """Parameters of make_attack_set: those of the attack, of the defence that it attacks, and of all that they need."""
    pack = attack_pack(wildcards)
    found, attacked = attack_needs(CONFIG, pack), attacked_defense(CONFIG, pack.threat)
    return attack_job(
        "make_attack_set",
        wildcards,
        *found.targets,
        budget=CONFIG.attacks.budget,
        count=CONFIG.attacks.adaptive.count if pack.threat.box == ADAPTIVE else None,
        defense=defense_kind(CONFIG, attacked) if attacked else None,
        defense_options=defense_options(CONFIG, attacked) if attacked else None,
        epsilons=list(pack.epsilons),
        facts=found.facts,
        readers=found.readers,
        roles=found.roles,
        seed=CONFIG.seed,
        threat=wildcards.threat,
        **computing_values(CONFIG),
    )


def worst_job(wildcards):
    """Parameters of attack_defense: those of all attacks, of the defence, and of all that they need."""
    pack, adaptive = worst_pack(wildcards), CONFIG.attacks.adaptive
    found, attacked = attack_needs(CONFIG, pack), pack.threat.defense
    return job(
        "attack_defense",
        *found.targets,
        DEFENSES[defense_kind(CONFIG, attacked)].target,
        *architecture_targets(CONFIG, attacked_model(CONFIG, pack.threat)),
        attacks={name: options.model_dump() for name, options in adaptive.methods.items()},
        ball=wildcards.ball,
        batch=CONFIG.attacks.batch,
        count=adaptive.count,
        defense=defense_kind(CONFIG, attacked),
        defense_options=defense_options(CONFIG, attacked),
        doubled=adaptive.doubled,
        epsilons=list(pack.epsilons),
        facts=found.facts,
        limits=adaptive.limits,
        names=list(map(str, stored_packs(wildcards))),
        order=list(adaptive.methods),
        readers=found.readers,
        roles=found.roles,
        sanity=adaptive.sanity,
        seed=CONFIG.seed,
        threat=wildcards.threat,
        **computing_values(CONFIG),
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
