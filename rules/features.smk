"""Features: one forward pass an image gives every layer and the softmax row; PCA reduces them to codes.

Needs: pools/, models/, attacks/ (query sets).
Makes: features/{model}/{layer}/{pool}/{shard}.npy        pooled activations (fp16) of a database shard
       features/{model}/{layer}/queries/{queries}.npy     the same of a query set
       softmax/{model}/{pool}/{shard}.npy                 softmax rows of a shard (and .weights.npy, their confidence)
       softmax/{model}/queries/{queries}.npy              the same of a query set
       pca/{model}/{layer}/{pool}.npz                     PCA fitted on the first images of a pool
       codes/{model}/{layer}/{pool}/{shard}.npy           reduced features of a shard

The first pass covers all layers configured at the first run; `*_layer` rules add one later (see Plan.first_pass).
"""


rule extract_features:
    input:
        script=PLAN.script("extract_features"),
        modules=lambda wildcards: PLAN.modules("extract_features", *PLAN.pool_modules(wildcards.pool)),
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
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=1440,
    params:
        settings=lambda wildcards: extraction(FIRST_PASS, wildcards.shard),
    shell:
        "python {input.script} {params.settings} --model {input.model} --images {input.images} --sets {input.sets}"
        " --features {output.features} --store {output.store}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"


use rule extract_features as extract_layer with:
    output:
        features=[kept("<results>/features/{model}/{layer}/{pool}/{shard}.npy")],
        store=[],
    log:
        "<logs>/extract_layer/{model}/{layer}/{pool}/{shard}.log",
    benchmark:
        "<benchmarks>/extract_layer/{model}/{layer}/{pool}/{shard}.tsv"
    wildcard_constraints:
        layer=one_of(layer for layer in PLAN.layers if layer not in FIRST_PASS),
    params:
        settings=lambda wildcards: extraction([wildcards.layer], wildcards.shard),


use rule extract_features as extract_queries with:
    input:
        script=PLAN.script("extract_features"),
        modules=PLAN.modules("extract_features"),
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
        settings=extraction(FIRST_PASS),


use rule extract_queries as extract_query_layer with:
    output:
        features=["<results>/features/{model}/{layer}/queries/{queries}.npy"],
        store=[],
    log:
        "<logs>/extract_query_layer/{model}/{layer}/{queries}.log",
    benchmark:
        "<benchmarks>/extract_query_layer/{model}/{layer}/{queries}.tsv"
    wildcard_constraints:
        layer=one_of(layer for layer in PLAN.layers if layer not in FIRST_PASS),
    params:
        settings=lambda wildcards: extraction([wildcards.layer]),


rule fit_pca:
    input:
        script=PLAN.script("fit_pca"),
        modules=PLAN.modules("fit_pca"),
        features=lambda wildcards: [
            f"<results>/features/{{model}}/{{layer}}/{{pool}}/{shard}.npy"
            for shard in PLAN.shards(wildcards.pool, config["features"]["pca_samples"])
        ],
    output:
        ensure("<results>/pca/{model}/{layer}/{pool}.npz", non_empty=True),
    log:
        "<logs>/fit_pca/{model}/{layer}/{pool}.log",
    benchmark:
        "<benchmarks>/fit_pca/{model}/{layer}/{pool}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        settings=Settings(
            components=config["features"]["components"],
            samples=config["features"]["pca_samples"],
            seed=config["seed"],
        ),
    shell:
        "python {input.script} {params.settings} --features {input.features} --output {output} --log {log}"


rule encode_features:
    input:
        script=PLAN.script("encode_features"),
        modules=PLAN.modules("encode_features"),
        features="<results>/features/{model}/{layer}/{pool}/{shard}.npy",
        pca="<results>/pca/{model}/{layer}/{pool}.npz",
    output:
        ensure("<results>/codes/{model}/{layer}/{pool}/{shard}.npy", non_empty=True),
    log:
        "<logs>/encode_features/{model}/{layer}/{pool}/{shard}.log",
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=4000,
        runtime=120,
    shell:
        "python {input.script} --features {input.features} --pca {input.pca} --output {output} --log {log}"
