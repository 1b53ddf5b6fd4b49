"""Answers of all other defences, and of the bare network.

Needs: attacks/, models/, and what a defence needs (see nndefense.flow.needs).
Makes: predictions/{model}/{defense}/{queries}.npz   as of the votes
       patches/{set}.npy                             patches that image quilting puts images together from
"""


rule sample_patches:
    input:
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
        job=lambda wildcards: job(
            "sample_patches",
            *image_targets(CONFIG, wildcards.set),
            count=CONFIG.patches.count,
            per_image=CONFIG.patches.per_image,
            seed=CONFIG.seed,
            skip_limit=CONFIG.skip_limit,
        ),
    shell:
        "python {params.job} --description {input.description:q} --output {output:q} --log {log:q}"


rule evaluate_defense:
    input:
        model=lambda wildcards: f"<results>/models/{asked_network(wildcards.defense)}/model.json",
        weights=lambda wildcards: f"<results>/models/{asked_network(wildcards.defense)}/weights.safetensors",
        queries=queries_file,
        needs=lambda wildcards: defense_needs(CONFIG, wildcards.defense, packed(wildcards)).files,
    output:
        predictions=ensure("<results>/predictions/{model}/{defense}/{queries}.npz", non_empty=True),
    log:
        "<logs>/evaluate_defense/{model}/{defense}/{queries}.log",
    benchmark:
        "<benchmarks>/evaluate_defense/{model}/{defense}/{queries}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=6000,
        runtime=1440,
    params:
        job=defense_job,
    shell:
        "python {params.job} --model {input.model:q} --queries {input.queries:q} --files {input.needs:q}"
        " --predictions {output.predictions:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"
