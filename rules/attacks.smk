"""Attacks: adversarial images for every pixel space, setting, attack and budget.

Needs: attacks/clean.npz, models/.
Makes: attacks/{space}/{setting}/{attack}/eps-{epsilon}.npz   images, their distances in both spaces, losses
"""


rule make_attack_set:
    input:
        script=PLAN.script("make_attack_set"),
        modules=lambda wildcards: PLAN.modules("make_attack_set", PLAN.attack_module(wildcards.attack)),
        clean="<results>/attacks/clean.npz",
        attacker=lambda wildcards: f"<results>/models/{PLAN.attacker(wildcards.setting)}/model.json",
        weights=lambda wildcards: f"<results>/models/{PLAN.attacker(wildcards.setting)}/weights.safetensors",
        target=f"<results>/models/{TARGET}/model.json",
    output:
        ensure("<results>/attacks/{space}/{setting}/{attack}/eps-{epsilon}.npz", non_empty=True),
    log:
        "<logs>/make_attack_set/{space}/{setting}/{attack}/eps-{epsilon}.log",
    benchmark:
        "<benchmarks>/make_attack_set/{space}/{setting}/{attack}/eps-{epsilon}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=1440,
    params:
        settings=lambda wildcards: Settings(
            attack=wildcards.attack,
            batch=config["attacks"]["batch"],
            epsilon=wildcards.epsilon,
            options=config["attacks"]["methods"][wildcards.attack],
            seed=config["seed"],
            setting=wildcards.setting,
            space=wildcards.space,
        ),
    shell:
        "python {input.script} {params.settings} --clean {input.clean} --attacker {input.attacker} --target {input.target}"
        " --output {output} --threads {threads} --gpus {resources.gpu} --log {log}"
