"""Database: an index for every shard, searched once for each query set; lists of shards merge into any size N.

Needs: codes/ of the shards, features/ of the query sets, pca/.
Makes: index/{model}/{layer}/{pool}/{shard}.faiss
       neighbors/{model}/{layer}/{pool}/{shard}/{queries}.npz     nearest images within a shard
       neighbors/{model}/{layer}/{pool}/merged/{queries}.npz      nearest images for every database size
"""


rule build_index:
    input:
        script=PLAN.script("build_index"),
        modules=PLAN.modules("build_index"),
        codes="<results>/codes/{model}/{layer}/{pool}/{shard}.npy",
    output:
        ensure("<results>/index/{model}/{layer}/{pool}/{shard}.faiss", non_empty=True),
    log:
        "<logs>/build_index/{model}/{layer}/{pool}/{shard}.log",
    benchmark:
        "<benchmarks>/build_index/{model}/{layer}/{pool}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=Settings(factory=config["index"]["factory"]),
    shell:
        "python {input.script} {params.settings} --codes {input.codes} --output {output} --threads {threads} --log {log}"


rule search_shard:
    input:
        script=PLAN.script("search_shard"),
        modules=PLAN.modules("search_shard"),
        features="<results>/features/{model}/{layer}/queries/{queries}.npy",
        pca="<results>/pca/{model}/{layer}/{pool}.npz",
        index="<results>/index/{model}/{layer}/{pool}/{shard}.faiss",
    output:
        ensure("<results>/neighbors/{model}/{layer}/{pool}/{shard}/{queries}.npz", non_empty=True),
    log:
        "<logs>/search_shard/{model}/{layer}/{pool}/{shard}/{queries}.log",
    benchmark:
        "<benchmarks>/search_shard/{model}/{layer}/{pool}/{shard}/{queries}.tsv"
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        settings=lambda wildcards: Settings(
            neighbors=config["index"]["neighbors"], probes=config["index"]["probes"], shard=wildcards.shard
        ),
    shell:
        "python {input.script} {params.settings} --features {input.features} --pca {input.pca} --index {input.index}"
        " --output {output} --threads {threads} --log {log}"


rule merge_neighbors:
    input:
        script=PLAN.script("merge_neighbors"),
        modules=PLAN.modules("merge_neighbors"),
        shards=lambda wildcards: [
            f"<results>/neighbors/{{model}}/{{layer}}/{{pool}}/{shard}/{{queries}}.npz"
            for shard in PLAN.shards(wildcards.pool)
        ],
    output:
        ensure("<results>/neighbors/{model}/{layer}/{pool}/merged/{queries}.npz", non_empty=True),
    log:
        "<logs>/merge_neighbors/{model}/{layer}/{pool}/{queries}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=lambda wildcards: Settings(
            neighbors=config["index"]["neighbors"],
            sizes=PLAN.sizes(wildcards.pool),
            stops=[int(shard.split("-")[1]) for shard in PLAN.shards(wildcards.pool)],
        ),
    shell:
        "python {input.script} {params.settings} --shards {input.shards} --output {output} --log {log}"
