"""Networks that are there already, and how good they are.

Needs: a file of weights, or weights of torchvision; attacks/clean.npz; pca/.
Makes: models/{model}/weights.safetensors, models/{model}/model.json   as of training.smk
       models/{model}/clean_accuracy.json                              accuracy on the clean test images
       layer_sizes.json                                                measured sizes of feature maps, for Table 3
"""

from nndefense.features.names import is_rmac

# Table 3 is on maps of the network that classifies.
PLAIN_LAYERS = [name for name in CONFIG.features.names if not is_rmac(name) and encoder_of(CONFIG, name) == TARGET]


rule load_model:
    input:
        file=weights_file,
    output:
        weights=ensure("<results>/models/{model}/weights.safetensors", non_empty=True),
        description=ensure("<results>/models/{model}/model.json", non_empty=True),
    log:
        "<logs>/load_model/{model}.log",
    wildcard_constraints:
        model=one_of(set(CONFIG.models) - set(trained_models(CONFIG))),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        job=loading_job,
    shell:
        "python {params.job} --weights {output.weights:q} --description {output.description:q} --log {log:q}"


rule evaluate_model:
    input:
        weights="<results>/models/{model}/weights.safetensors",
        description="<results>/models/{model}/model.json",
        clean="<results>/attacks/clean.npz",
    output:
        ensure("<results>/models/{model}/clean_accuracy.json", non_empty=True),
    log:
        "<logs>/evaluate_model/{model}.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=60,
    params:
        job=lambda wildcards: job(
            "evaluate_model", *architecture_targets(CONFIG, wildcards.model), batch=CONFIG.features.batch
        ),
    shell:
        "python {params.job} --model {input.description:q} --queries {input.clean:q} --output {output:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule measure_layers:
    input:
        model=f"<results>/models/{TARGET}/model.json",
        weights=f"<results>/models/{TARGET}/weights.safetensors",
        clean="<results>/attacks/clean.npz",
        pca=[f"<results>/pca/{TARGET}/{layer}/{CONFIG.base.pool}.npz" for layer in PLAIN_LAYERS],
    output:
        ensure("<results>/layer_sizes.json", non_empty=True),
    log:
        "<logs>/measure_layers.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=60,
    params:
        job=job(
            "measure_layers",
            "nndefense.models.torchvision_nets:build",
            *architecture_targets(CONFIG, TARGET),
            layers=PLAIN_LAYERS,
            pooled=pooled_sides(CONFIG, PLAIN_LAYERS) or None,
        ),
    shell:
        "python {params.job} --model {input.model:q} --queries {input.clean:q} --pca {input.pca:q}"
        " --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"
