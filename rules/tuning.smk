"""Options of defences that are chosen on validation images, and what purification makes of a few test images.

Needs: images/, models/, attacks/, and what a defence needs (see nndefense.flow.needs).
Makes: validation.npz        images that are no test images
       tuned/{defense}.json   the chosen option, and the clean accuracy with every value
       srd/oracle.npz         the cluster of each test image among those of its true class
       srd/purified.npz       a few test images, clean and attacked, purified by dictionaries
"""


use rule make_clean_set as make_validation_set with:
    input:
        manifest=lambda wildcards: set_file(CONFIG.validation.images, "manifest.parquet"),
        description=lambda wildcards: set_file(CONFIG.validation.images, "set.json"),
        without=lambda wildcards: (
            "<results>/attacks/clean.npz" if CONFIG.validation.images == CONFIG.queries.images else []
        ),
        task=lambda wildcards: (
            set_file(CONFIG.queries.images, "set.json") if CONFIG.validation.images != CONFIG.queries.images else []
        ),
    output:
        ensure("<results>/validation.npz", non_empty=True),
    log:
        "<logs>/make_validation_set.log",
    params:
        job=lambda wildcards: clean_set_job(CONFIG.validation, "validation"),


rule tune_defense:
    input:
        model=lambda wildcards: f"<results>/models/{asked_network(wildcards.defense)}/model.json",
        weights=lambda wildcards: f"<results>/models/{asked_network(wildcards.defense)}/weights.safetensors",
        queries="<results>/validation.npz",
        needs=lambda wildcards: defense_needs(CONFIG, wildcards.defense, tuned=False).files,
    output:
        ensure("<results>/tuned/{defense}.json", non_empty=True),
    log:
        "<logs>/tune_defense/{defense}.log",
    benchmark:
        "<benchmarks>/tune_defense/{defense}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=720,
    params:
        job=tuning_job,
    shell:
        "python {params.job} --model {input.model:q} --queries {input.queries:q} --files {input.needs:q}"
        " --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule find_oracle:
    input:
        clean="<results>/attacks/clean.npz",
        clusters=CLUSTERS,
        images=lambda wildcards: set_file(CONFIG.dictionaries.images, "set.json"),
        model=lambda wildcards: f"<results>/models/{dictionary_model(CONFIG)}/model.json",
        weights=lambda wildcards: f"<results>/models/{dictionary_model(CONFIG)}/weights.safetensors",
    output:
        ensure(ORACLE, non_empty=True),
    log:
        "<logs>/find_oracle.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=60,
    params:
        job=lambda wildcards: job(
            "find_oracle", *architecture_targets(CONFIG, dictionary_model(CONFIG)), batch=CONFIG.features.batch
        ),
    shell:
        "python {params.job} --clean {input.clean:q} --images {input.images:q} --clusters {input.clusters:q} --model {input.model:q}"
        " --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule purify_images:
    input:
        model=lambda wildcards: f"<results>/models/{asked_network(SRD.shown)}/model.json",
        weights=lambda wildcards: f"<results>/models/{asked_network(SRD.shown)}/weights.safetensors",
        clean="<results>/attacks/clean.npz",
        attacked=lambda wildcards: f"<results>/attacks/{file_of(CONFIG, shown_pack(CONFIG))}.npz",
        needs=lambda wildcards: defense_needs(CONFIG, SRD.shown, shown_pack(CONFIG)).files,
    output:
        ensure(PURIFIED, non_empty=True),
    log:
        "<logs>/purify_images.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=60,
    params:
        job=purified_job,
    shell:
        "python {params.job} --model {input.model:q} --clean {input.clean:q} --attacked {input.attacked:q}"
        " --files {input.needs:q} --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"
