"""Parameters of jobs that attack."""

from nndefense.flow.models import surrogates
from nndefense.flow.needs import TRANSFER, climbs_file


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
        **computing_values(CONFIG, attacks=True),
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
        **computing_values(CONFIG, attacks=True),
    )


def climbed_files(file):
    """A file of every network that climbs go up on."""
    return [f"<results>/models/{name}/{file}" for name in surrogates(CONFIG)]


def climbs_job(wildcards):
    """Parameters of climb_networks."""
    pack = Pack.parse(f"{wildcards.ball}/{ADAPTIVE}-{NO_DEFENSE}/{TRANSFER}/eps-{wildcards.budgets}")
    return job(
        "climb_networks",
        ATTACKS[TRANSFER].target,
        *architecture_targets(CONFIG, *surrogates(CONFIG)),
        attack=TRANSFER,
        ball=wildcards.ball,
        batch=CONFIG.attacks.batch,
        count=CONFIG.attacks.adaptive.count,
        epsilons=list(pack.epsilons),
        options=method_options(CONFIG, pack.ball, pack.threat, TRANSFER),
        seed=CONFIG.seed,
        **computing_values(CONFIG, attacks=True),
    )
