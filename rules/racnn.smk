"""Retrieval-augmented networks (Zhao & Cho), `train.method: retrieval_augmented` of a model.

Needs: images/ (to train on, and to retrieve from), models/{extractor}/.
Makes: models/{model}/weights.safetensors   the network, with the features and labels of the images it retrieves from
       models/{model}/model.json            its options, provenance, checksum of the weights
       models/{model}/training.csv          loss, accuracy and learning rate of every epoch
"""


rule train_racnn:
    input:
        script=PLAN.script("train_racnn"),
        modules=lambda wildcards: PLAN.modules(
            "train_racnn",
            *PLAN.training.modules(wildcards.model),
            *PLAN.image_modules(PLAN.retrieval_set(wildcards.model)),
        ),
        manifest=lambda wildcards: f"<results>/images/{PLAN.training_set(wildcards.model)}/manifest.parquet",
        images=lambda wildcards: f"<results>/images/{PLAN.training_set(wildcards.model)}/set.json",
        database_manifest=lambda wildcards: f"<results>/images/{PLAN.retrieval_set(wildcards.model)}/manifest.parquet",
        database=lambda wildcards: f"<results>/images/{PLAN.retrieval_set(wildcards.model)}/set.json",
        extractor=lambda wildcards: PLAN.training.descriptions(wildcards.model, "extractor"),
        weights=lambda wildcards: PLAN.training.weights(wildcards.model),
    output:
        weights=ensure("<results>/models/{model}/weights.safetensors", non_empty=True),
        description=ensure("<results>/models/{model}/model.json", non_empty=True),
        history=ensure("<results>/models/{model}/training.csv", non_empty=True),
    log:
        "<logs>/train_racnn/{model}.log",
    benchmark:
        "<benchmarks>/train_racnn/{model}.tsv"
    wildcard_constraints:
        model=one_of(PLAN.trained("retrieval_augmented")),
    priority: 10
    conda:
        ENVIRONMENT
    threads: lambda wildcards: config["models"][wildcards.model]["train"]["threads"]
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=720,
    params:
        settings=lambda wildcards: Settings(
            batch=config["features"]["batch"],
            classes=config["classes"],
            model=config["models"][wildcards.model],
            name=wildcards.model,
            seed=config["seed"],
            skip_limit=config["skip_limit"],
        ),
    shell:
        "python {input.script} {params.settings} --extractor {input.extractor}"
        " --manifest {input.manifest} --images {input.images}"
        " --database-manifest {input.database_manifest} --database {input.database}"
        " --weights {output.weights} --description {output.description} --history {output.history}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"
