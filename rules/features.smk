"""Features: one forward pass an image gives several layers and the softmax row.

Needs: pools/, models/, attacks/ (query sets).
Makes: features/{model}/{layer}/{pool}/{shard}.npy        pooled activations (fp16) of a database shard
       features/{model}/{layer}/queries/{queries}.npy     the same of a pack of query sets, set after set
       softmax/{model}/{pool}/{shard}.npy                 softmax rows of a shard (and .weights.npy, their confidence)
       softmax/{model}/queries/{queries}.npy              the same of a pack

A pass is an entry of `features.layers`; the first gives the softmax rows, too. So a layer that is added as an entry of
its own costs a pass of its own and leaves all files that exist alone, without anything but the configuration to say so.
"""


rule extract_features:
    input:
        model="<results>/models/{model}/model.json",
        weights="<results>/models/{model}/weights.safetensors",
        images="<results>/pools/{pool}.parquet",
        sets=lambda wildcards: pool_sets(wildcards, "set.json"),
    output:
        features=[kept(f"<results>/features/{{model}}/{layer}/{{pool}}/{{shard}}.npy") for layer in FIRST_PASS],
        store=ensure(
            ["<results>/softmax/{model}/{pool}/{shard}.npy", "<results>/softmax/{model}/{pool}/{shard}.weights.npy"],
            non_empty=True,
        ),
    log:
        "<logs>/extract_features/{model}/{pool}/{shard}.log",
    benchmark:
        "<benchmarks>/extract_features/{model}/{pool}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=6000,
        runtime=1440,
    params:
        job=extract_shard(FIRST_PASS),
    shell:
        "python {params.job} --model {input.model:q} --images {input.images:q} --sets {input.sets:q}"
        " --features {output.features:q} --store {output.store:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"


use rule extract_features as extract_queries with:
    input:
        model="<results>/models/{model}/model.json",
        weights="<results>/models/{model}/weights.safetensors",
        images="<results>/attacks/{queries}.npz",
        sets=[],
    output:
        features=[f"<results>/features/{{model}}/{layer}/queries/{{queries}}.npy" for layer in FIRST_PASS],
        store=ensure(
            [
                "<results>/softmax/{model}/queries/{queries}.npy",
                "<results>/softmax/{model}/queries/{queries}.weights.npy",
            ],
            non_empty=True,
        ),
    log:
        "<logs>/extract_queries/{model}/{queries}.log",
    benchmark:
        "<benchmarks>/extract_queries/{model}/{queries}.tsv"
    params:
        job=extract_pack(FIRST_PASS),


for later in LATER_PASSES:

    rule:
        name:
            f"extract_features_{later[0].replace('-', '_')}"
        input:
            model="<results>/models/{model}/model.json",
            weights="<results>/models/{model}/weights.safetensors",
            images="<results>/pools/{pool}.parquet",
            sets=lambda wildcards: pool_sets(wildcards, "set.json"),
        output:
            [kept(f"<results>/features/{{model}}/{layer}/{{pool}}/{{shard}}.npy") for layer in later],
        log:
            f"<logs>/extract_features/{{model}}/{later[0]}/{{pool}}/{{shard}}.log",
        benchmark:
            f"<benchmarks>/extract_features/{{model}}/{later[0]}/{{pool}}/{{shard}}.tsv"
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            gpu=CONFIG.gpu,
            mem_mb=6000,
            runtime=1440,
        params:
            job=extract_shard(later),
        shell:
            "python {params.job} --model {input.model:q} --images {input.images:q} --sets {input.sets:q}"
            " --features {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"

    rule:
        name:
            f"extract_queries_{later[0].replace('-', '_')}"
        input:
            model="<results>/models/{model}/model.json",
            weights="<results>/models/{model}/weights.safetensors",
            images="<results>/attacks/{queries}.npz",
        output:
            [f"<results>/features/{{model}}/{layer}/queries/{{queries}}.npy" for layer in later],
        log:
            f"<logs>/extract_queries/{{model}}/{later[0]}/{{queries}}.log",
        benchmark:
            f"<benchmarks>/extract_queries/{{model}}/{later[0]}/{{queries}}.tsv"
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            gpu=CONFIG.gpu,
            mem_mb=6000,
            runtime=1440,
        params:
            job=extract_pack(later),
        shell:
            "python {params.job} --model {input.model:q} --images {input.images:q} --features {output:q}"
            " --threads {threads} --gpus {resources.gpu} --log {log:q}"
