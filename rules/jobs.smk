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


def extraction(layers, *targets, **values):
    """Parameters of a forward pass that yields these layers."""
    common = {"batch": CONFIG.features.batch, "pooled": pooled_sides(CONFIG, layers) or None}
    return job("extract_features", *ARCHITECTURES, *targets, skip_limit=CONFIG.skip_limit, **common, **values)


def extract_shard(layers):
    """Parameters of a pass over a database shard."""
    return lambda wildcards: extraction(layers, *pool_targets(wildcards.pool), shard=wildcards.shard)


def extract_pack(layers):
    """Parameters of a pass over a pack of query sets."""
    return lambda wildcards: extraction(layers, queries_name=wildcards.queries)


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
        options=method_options(CONFIG, Ball.parse(wildcards.ball), wildcards.attack),
        **values,
    )


def attack_set_job(wildcards):
    """Parameters of make_attack_set: those of the attack, of the defence that it attacks, and of all that they need."""
    pack = attack_pack(wildcards)
    found, attacked = attack_needs(CONFIG, pack), pack.threat.defense
    defense = CONFIG.defenses[attacked] if attacked else None
    return attack_job(
        "make_attack_set",
        wildcards,
        *found.targets,
        budget=CONFIG.attacks.budget,
        defense=defense.kind if defense else None,
        defense_options=defense.options if defense else None,
        epsilons=list(pack.epsilons),
        facts=found.facts,
        readers=found.readers,
        roles=found.roles,
        seed=CONFIG.seed,
        threat=wildcards.threat,
    )


def kind_of(defense):
    """The registered kind of a defence."""
    return NO_DEFENSE if defense == NO_DEFENSE else CONFIG.defenses[defense].kind


def defending(wildcards):
    """The network that a defence asks: the target, or one of its own."""
    own = None if wildcards.defense == NO_DEFENSE else CONFIG.defenses[wildcards.defense].model
    return own or TARGET


def defense_job(wildcards):
    """Parameters of evaluate_defense."""
    kind = kind_of(wildcards.defense)
    found = defense_needs(CONFIG, kind, packed(wildcards))
    return job(
        "evaluate_defense",
        *found.targets,
        *architecture_targets(CONFIG, defending(wildcards)),
        batch=CONFIG.attacks.batch,
        defense=wildcards.defense,
        facts=found.facts,
        kind=kind,
        options={} if kind == NO_DEFENSE else CONFIG.defenses[wildcards.defense].options,
        queries_name=wildcards.queries,
        readers=found.readers,
        roles=found.roles,
        seed=CONFIG.seed,
    )
