"""Models.

Needs: training images (and models that training starts from), or a file of weights, or weights of torchvision.
Makes: models/{model}/weights.safetensors   the network
       models/{model}/model.json            architecture, preprocessing, provenance, checksum of the weights
       models/{model}/training.csv          loss, accuracy and learning rate of every epoch
       models/{model}/clean_accuracy.json   accuracy on the clean test images
       training.{csv,pdf,png}               the curves of all trained networks
"""


rule train_model:
    input:
        script=PLAN.script("train_model"),
        modules=lambda wildcards: PLAN.modules("train_model", *PLAN.training.modules(wildcards.model)),
        manifest=lambda wildcards: f"<results>/images/{PLAN.training_set(wildcards.model)}/manifest.parquet",
        description=lambda wildcards: f"<results>/images/{PLAN.training_set(wildcards.model)}/set.json",
        initial=lambda wildcards: PLAN.training.descriptions(wildcards.model, "initial"),
        sources=lambda wildcards: PLAN.training.descriptions(wildcards.model, "sources"),
        weights=lambda wildcards: PLAN.training.weights(wildcards.model),
    output:
        weights=ensure("<results>/models/{model}/weights.safetensors", non_empty=True),
        description=ensure("<results>/models/{model}/model.json", non_empty=True),
        history=ensure("<results>/models/{model}/training.csv", non_empty=True),
    log:
        "<logs>/train_model/{model}.log",
    benchmark:
        "<benchmarks>/train_model/{model}.tsv"
    wildcard_constraints:
        model=one_of(PLAN.trained(*PLAN.training.methods)),
    # Most other jobs wait for it.
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
            classes=config["classes"],
            model=config["models"][wildcards.model],
            name=wildcards.model,
            seed=config["seed"],
            skip_limit=config["skip_limit"],
        ),
    shell:
        "python {input.script} {params.settings} --manifest {input.manifest} --images {input.description}"
        " --initial {input.initial} --sources {input.sources}"
        " --weights {output.weights} --description {output.description} --history {output.history}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"


rule load_model:
    input:
        script=PLAN.script("load_model"),
        modules=PLAN.modules("load_model"),
        file=lambda wildcards: PLAN.weights_file(wildcards.model),
    output:
        weights=ensure("<results>/models/{model}/weights.safetensors", non_empty=True),
        description=ensure("<results>/models/{model}/model.json", non_empty=True),
    log:
        "<logs>/load_model/{model}.log",
    wildcard_constraints:
        model=one_of(name for name in config["models"] if name not in PLAN.trained()),
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: Settings(
            classes=config["classes"], model=config["models"][wildcards.model], name=wildcards.model
        ),
    shell:
        "python {input.script} {params.settings} --weights {output.weights} --description {output.description} --log {log}"


rule evaluate_model:
    input:
        script=PLAN.script("evaluate_model"),
        modules=lambda wildcards: PLAN.modules("evaluate_model", *PLAN.network_modules(wildcards.model)),
        weights="<results>/models/{model}/weights.safetensors",
        description="<results>/models/{model}/model.json",
        clean="<results>/attacks/clean.npz",
    output:
        ensure("<results>/models/{model}/clean_accuracy.json", non_empty=True),
    log:
        "<logs>/evaluate_model/{model}.log",
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=Settings(batch=config["features"]["batch"]),
    shell:
        "python {input.script} {params.settings} --model {input.description} --queries {input.clean} --output {output}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"


rule plot_training:
    input:
        script=PLAN.script("plot_training"),
        modules=PLAN.modules("plot_training"),
        histories=PLAN.curves(),
    output:
        csv="<results>/training.csv",
        pdf="<results>/training.pdf",
        png="<results>/training.png",
    log:
        "<logs>/plot_training.log",
    conda:
        ENVIRONMENT
    shell:
        "python {input.script} --histories {input.histories}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"
