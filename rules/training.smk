"""Networks that are trained here.

Needs: images/ (to train on, and to retrieve from), models/ that training starts from.
Makes: models/{model}/weights.safetensors   the network; retrieval-augmented ones with the images they retrieve from
       models/{model}/model.json            architecture, preprocessing, provenance, checksum of the weights
       models/{model}/training.csv          loss, accuracy and learning rate of every epoch
"""


rule train_model:
    input:
        manifest=lambda wildcards: set_file(recipe(wildcards).images, "manifest.parquet"),
        description=lambda wildcards: set_file(recipe(wildcards).images, "set.json"),
        initial=lambda wildcards: descriptions(recipe(wildcards).initial),
        sources=lambda wildcards: descriptions(getattr(recipe(wildcards), "sources", None)),
        weights=starting_weights,
        clusters=clusters_of,
    output:
        weights=ensure("<results>/models/{model}/weights.safetensors", non_empty=True),
        description=ensure("<results>/models/{model}/model.json", non_empty=True),
        history=ensure("<results>/models/{model}/training.csv", non_empty=True),
    log:
        "<logs>/train_model/{model}.log",
    benchmark:
        "<benchmarks>/train_model/{model}.tsv"
    wildcard_constraints:
        model=one_of(set(trained_models(CONFIG)) - set(trained_models(CONFIG, "retrieval_augmented"))),
    # Most other jobs wait for it.
    priority: 10
    conda:
        ENVIRONMENT
    threads: lambda wildcards: recipe(wildcards).threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=720,
    params:
        job=training_job("train_model"),
    shell:
        "python {params.job} --manifest {input.manifest:q} --images {input.description:q}"
        " --initial {input.initial:q} --sources {input.sources:q} --clusters {input.clusters:q}"
        " --weights {output.weights:q} --description {output.description:q} --history {output.history:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule train_racnn:
    input:
        manifest=lambda wildcards: set_file(recipe(wildcards).images, "manifest.parquet"),
        images=lambda wildcards: set_file(recipe(wildcards).images, "set.json"),
        database_manifest=lambda wildcards: set_file(recipe(wildcards).database.images, "manifest.parquet"),
        database=lambda wildcards: set_file(recipe(wildcards).database.images, "set.json"),
        extractor=lambda wildcards: descriptions(recipe(wildcards).extractor),
        weights=starting_weights,
    output:
        weights=ensure("<results>/models/{model}/weights.safetensors", non_empty=True),
        description=ensure("<results>/models/{model}/model.json", non_empty=True),
        history=ensure("<results>/models/{model}/training.csv", non_empty=True),
    log:
        "<logs>/train_racnn/{model}.log",
    benchmark:
        "<benchmarks>/train_racnn/{model}.tsv"
    wildcard_constraints:
        model=one_of(trained_models(CONFIG, "retrieval_augmented")),
    priority: 10
    conda:
        ENVIRONMENT
    threads: lambda wildcards: recipe(wildcards).threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=720,
    params:
        job=training_job("train_racnn"),
    shell:
        "python {params.job} --extractor {input.extractor:q} --manifest {input.manifest:q} --images {input.images:q}"
        " --database-manifest {input.database_manifest:q} --database {input.database:q}"
        " --weights {output.weights:q} --description {output.description:q} --history {output.history:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"
