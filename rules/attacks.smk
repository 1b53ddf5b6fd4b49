"""Attacks: adversarial images for every ball, threat model and attack, at several budgets a job.

Needs: attacks/clean.npz, models/, and what attack and attacked defence need (see nndefense.flow.needs).
Makes: attacks/{ball}/{threat}/{attack}/eps-{budgets}.npz   images, their distances in every ball, losses
       attacks/{ball}/{threat}/{attack}/direction.npz       of attacks that scale one direction to every budget
       attacks/{ball}/climbs/transfer/eps-{budgets}.npz     where steps on networks end, which all defences are tried on
       attacks/knowledge/{database}.npz                     what an attacker takes from a database of its own
"""


rule find_direction:
    input:
        clean="<results>/attacks/clean.npz",
        attacker=lambda wildcards: attacker(wildcards, "model.json"),
        weights=lambda wildcards: attacker(wildcards, "weights.safetensors"),
        target=f"<results>/models/{TARGET}/model.json",
    output:
        ensure("<results>/attacks/{ball}/{threat}/{attack}/direction.npz", non_empty=True),
    log:
        "<logs>/find_direction/{ball}/{threat}/{attack}.log",
    benchmark:
        "<benchmarks>/find_direction/{ball}/{threat}/{attack}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=1440,
    params:
        job=lambda wildcards: attack_job("find_direction", wildcards),
    shell:
        "python {params.job} --clean {input.clean:q} --attacker {input.attacker:q} --target {input.target:q}"
        " --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule make_attack_set:
    input:
        clean="<results>/attacks/clean.npz",
        attacker=lambda wildcards: attacker(wildcards, "model.json"),
        weights=lambda wildcards: attacker(wildcards, "weights.safetensors"),
        target=f"<results>/models/{TARGET}/model.json",
        needs=lambda wildcards: attack_needs(CONFIG, attack_pack(wildcards)).files,
    output:
        ensure("<results>/attacks/{ball}/{threat}/{attack}/eps-{budgets}.npz", non_empty=True),
    log:
        "<logs>/make_attack_set/{ball}/{threat}/{attack}/eps-{budgets}.log",
    benchmark:
        "<benchmarks>/make_attack_set/{ball}/{threat}/{attack}/eps-{budgets}.tsv"
    wildcard_constraints:
        budgets=r"[0-9.e,-]+",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=1440,
    params:
        job=attack_set_job,
    shell:
        "python {params.job} --clean {input.clean:q} --attacker {input.attacker:q} --target {input.target:q}"
        " --files {input.needs:q} --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule climb_networks:
    input:
        clean="<results>/attacks/clean.npz",
        networks=climbed_files("model.json"),
        weights=climbed_files("weights.safetensors"),
        target=f"<results>/models/{TARGET}/model.json",
    output:
        ensure(climbs_file("{ball}", "eps-{budgets}"), non_empty=True),
    log:
        "<logs>/climb_networks/{ball}/eps-{budgets}.log",
    benchmark:
        "<benchmarks>/climb_networks/{ball}/eps-{budgets}.tsv"
    wildcard_constraints:
        budgets=r"[0-9.e,-]+",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=1440,
    params:
        job=climbs_job,
    shell:
        "python {params.job} --clean {input.clean:q} --networks {input.networks:q} --target {input.target:q}"
        " --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule gather_knowledge:
    input:
        lists=knowledge_lists,
        softmax=knowledge_files("softmax/{model}/{pool}/{shard}.npy"),
        weights=knowledge_files("softmax/{model}/{pool}/{shard}.weights.npy"),
        checks=knowledge_files("softmax/{model}/{pool}/{shard}.checks.npy"),
        codes=knowledge_files("codes/{place}/{pool}/{shard}.npy"),
    output:
        ensure("<results>/attacks/knowledge/{database}.npz", non_empty=True),
    log:
        "<logs>/gather_knowledge/{database}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        job=lambda wildcards: job(
            "gather_knowledge",
            neighbors=CONFIG.attacks.white_box.neighbors,
            stops=[stop for _, stop in attacker_lists(CONFIG, AttackDatabase.parse(wildcards.database))],
        ),
    shell:
        "python {params.job} --lists {input.lists:q} --softmax {input.softmax:q} --weights {input.weights:q}"
        " --checks {input.checks:q} --codes {input.codes:q} --output {output:q} --log {log:q}"
