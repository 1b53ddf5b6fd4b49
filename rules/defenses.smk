"""Defences without a database, for table 2: images in, class probabilities out.

Needs: attacks/ (the query sets of table 2), models/, images/.
Makes: predictions/, accuracy/{model}/{defense}/{queries}.*    as of the votes
       patches/{set}.npy                                       patches that image quilting puts images together from
"""


rule sample_patches:
    input:
        script=PLAN.script("sample_patches"),
        modules=lambda wildcards: PLAN.modules("sample_patches", *PLAN.image_modules(wildcards.set)),
        description="<results>/images/{set}/set.json",
    output:
        ensure("<results>/patches/{set}.npy", non_empty=True),
    log:
        "<logs>/sample_patches/{set}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=lambda wildcards: Settings(
            count=config["patches"]["count"],
            per_image=config["patches"]["per_image"],
            seed=config["seed"],
            skip_limit=config["skip_limit"],
        ),
    shell:
        "python {input.script} {params.settings} --description {input.description} --output {output} --log {log}"


rule evaluate_defense:
    input:
        script=PLAN.script("evaluate_defense"),
        modules=lambda wildcards: PLAN.modules(
            "evaluate_defense",
            PLAN.defense_module(wildcards.defense),
            *PLAN.network_modules(PLAN.defending_model(wildcards.defense)),
        ),
        model=lambda wildcards: f"<results>/models/{PLAN.defending_model(wildcards.defense)}/model.json",
        weights=lambda wildcards: f"<results>/models/{PLAN.defending_model(wildcards.defense)}/weights.safetensors",
        queries="<results>/attacks/{queries}.npz",
        patches=lambda wildcards: PLAN.patches(wildcards.defense),
    output:
        predictions=ensure("<results>/predictions/{model}/{defense}/{queries}.npz", non_empty=True),
        accuracy=ensure("<results>/accuracy/{model}/{defense}/{queries}.csv", non_empty=True),
    log:
        "<logs>/evaluate_defense/{model}/{defense}/{queries}.log",
    benchmark:
        "<benchmarks>/evaluate_defense/{model}/{defense}/{queries}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=1440,
    params:
        settings=lambda wildcards: Settings(
            batch=config["attacks"]["batch"],
            dataset=config["dataset"],
            defense=wildcards.defense,
            model_name=wildcards.model,
            options={key: value for key, value in config["defenses"][wildcards.defense].items() if key != "model"},
            queries_name=wildcards.queries,
            seed=config["seed"],
        ),
    shell:
        "python {input.script} {params.settings} --model {input.model} --queries {input.queries}"
        " --patches {input.patches} --predictions {output.predictions} --accuracy {output.accuracy}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"
