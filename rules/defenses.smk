"""Answers of all other defences, and of the bare network.

Needs: attacks/, models/, and what a defence needs (see nndefense.flow.needs).
Makes: predictions/{model}/{defense}/{pack}.npz   as of the votes
       patches/{set}.npy                          patches that image quilting puts images together from
"""


rule sample_patches:
    input:
        description="<results>/images/{set}/set.json",
        manifest="<results>/images/{set}/manifest.parquet",
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


for batch in ANSWERED:

    rule:
        name:
            f"evaluate_defense_{batch.word}"
        input:
            model=lambda wildcards: f"<results>/models/{asked_network(wildcards.defense)}/model.json",
            weights=lambda wildcards: f"<results>/models/{asked_network(wildcards.defense)}/weights.safetensors",
            queries=[attack_file(pack) for pack in batch.packs],
            needs=lambda wildcards, packs=batch.packs: packs_needs(CONFIG, wildcards.defense, packs)[0].files,
        output:
            predictions=[f"<results>/predictions/{{model}}/{{defense}}/{pack}.npz" for pack in batch.packs],
        log:
            f"<logs>/evaluate_defense/{{model}}/{{defense}}/{batch.word}.log",
        benchmark:
            f"<benchmarks>/evaluate_defense/{{model}}/{{defense}}/{batch.word}.tsv"
        wildcard_constraints:
            defense=one_of(batch.systems),
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            gpu=CONFIG.gpu,
            mem_mb=CONFIG.memory_mb,
            runtime=1440,
        params:
            job=defense_job(batch.packs),
        shell:
            "python {params.job} --model {input.model:q} --queries {input.queries:q} --files {input.needs:q}"
            " --predictions {output.predictions:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"
