"""Attacks: adversarial images for every pixel space, setting, attack and budget.

Needs: attacks/clean.npz, models/; in the white-box setting neighbours of the clean images, softmax/, codes/, pca/.
Makes: attacks/{space}/{setting}/{attack}/eps-{epsilon}.npz   images, their distances in both spaces, losses
       attacks/{space}/{setting}/{attack}/direction.npz       of attacks that scale one direction to every budget
       attacks/knowledge/{database}.npz                       what a white-box attacker takes from its own database
"""


rule find_direction:
    input:
        script=PLAN.script("find_direction"),
        modules=lambda wildcards: PLAN.modules("find_direction", PLAN.attack_module(wildcards.attack)),
        clean="<results>/attacks/clean.npz",
        attacker=lambda wildcards: f"<results>/models/{PLAN.attacker(wildcards.setting)}/model.json",
        weights=lambda wildcards: f"<results>/models/{PLAN.attacker(wildcards.setting)}/weights.safetensors",
        target=f"<results>/models/{TARGET}/model.json",
    output:
        ensure("<results>/attacks/{space}/{setting}/{attack}/direction.npz", non_empty=True),
    log:
        "<logs>/find_direction/{space}/{setting}/{attack}.log",
    benchmark:
        "<benchmarks>/find_direction/{space}/{setting}/{attack}.tsv"
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
            options=config["attacks"]["methods"][wildcards.attack],
            space=wildcards.space,
        ),
    shell:
        "python {input.script} {params.settings} --clean {input.clean} --attacker {input.attacker} --target {input.target}"
        " --output {output} --threads {threads} --gpus {resources.gpu} --log {log}"


rule make_attack_set:
    input:
        script=PLAN.script("make_attack_set"),
        modules=lambda wildcards: PLAN.modules("make_attack_set", *PLAN.attack_modules(wildcards)),
        clean="<results>/attacks/clean.npz",
        attacker=lambda wildcards: f"<results>/models/{PLAN.attacker(wildcards.setting)}/model.json",
        weights=lambda wildcards: f"<results>/models/{PLAN.attacker(wildcards.setting)}/weights.safetensors",
        target=f"<results>/models/{TARGET}/model.json",
        direction=lambda wildcards: PLAN.direction(wildcards.attack),
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
            budget=config["attacks"]["budget"],
            epsilon=wildcards.epsilon,
            options=config["attacks"]["methods"][wildcards.attack],
            seed=config["seed"],
            setting=wildcards.setting,
            space=wildcards.space,
        ),
    shell:
        "python {input.script} {params.settings} --clean {input.clean} --attacker {input.attacker} --target {input.target}"
        " --direction {input.direction}"
        " --output {output} --threads {threads} --gpus {resources.gpu} --log {log}"


rule gather_knowledge:
    input:
        script=PLAN.script("gather_knowledge"),
        modules=PLAN.modules("gather_knowledge"),
        shards=lambda wildcards: PLAN.attacker_files(wildcards.database, "neighbors", "{shard}/clean.npz"),
        softmax=lambda wildcards: PLAN.attacker_files(wildcards.database, "softmax", "{shard}.npy"),
        weights=lambda wildcards: PLAN.attacker_files(wildcards.database, "softmax", "{shard}.weights.npy"),
        codes=lambda wildcards: PLAN.attacker_files(wildcards.database, "codes", "{shard}.npy"),
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
        settings=lambda wildcards: Settings(neighbors=config["attacks"]["white_box"]["neighbors"]),
    shell:
        "python {input.script} {params.settings} --shards {input.shards} --softmax {input.softmax}"
        " --weights {input.weights} --codes {input.codes} --output {output} --log {log}"


rule make_white_box_set:
    input:
        script=PLAN.script("make_white_box_set"),
        modules=lambda wildcards: PLAN.modules(
            "make_white_box_set", PLAN.attack_module(wildcards.attack), *PLAN.white_box_image_modules()
        ),
        clean="<results>/attacks/clean.npz",
        target=f"<results>/models/{TARGET}/model.json",
        weights=f"<results>/models/{TARGET}/weights.safetensors",
        knowledge="<results>/attacks/knowledge/{database}.npz",
        pca=lambda wildcards: PLAN.white_box_pca(),
        pool=lambda wildcards: f"<results>/pools/{config['attacks']['white_box']['pool']}.parquet",
        sets=lambda wildcards: PLAN.white_box_sets(),
    output:
        ensure("<results>/attacks/{space}/white_box-{database}/{attack}/eps-{epsilon}.npz", non_empty=True),
    log:
        "<logs>/make_white_box_set/{space}/{database}/{attack}/eps-{epsilon}.log",
    benchmark:
        "<benchmarks>/make_white_box_set/{space}/{database}/{attack}/eps-{epsilon}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=1440,
    params:
        settings=lambda wildcards: Settings(
            attack=wildcards.attack,
            batch=config["attacks"]["batch"],
            budget=config["attacks"]["budget"],
            database=wildcards.database,
            epsilon=wildcards.epsilon,
            layer=config["base"]["features"],
            options=config["attacks"]["methods"][wildcards.attack],
            pooled=pooled([config["base"]["features"]]),
            seed=config["seed"],
            space=wildcards.space,
        ),
    shell:
        "python {input.script} {params.settings} --clean {input.clean} --target {input.target}"
        " --knowledge {input.knowledge} --pca {input.pca} --pool {input.pool} --sets {input.sets}"
        " --output {output} --threads {threads} --gpus {resources.gpu} --log {log}"
