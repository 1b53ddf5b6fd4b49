"""Database: an index for every shard, searched once for each pack; lists of shards merge into any size N.

Needs: codes/ of the shards, features/ of the query sets, pca/.
Makes: index/{model}/{layer}/{pool}/{shard}.faiss
       neighbors/{model}/{layer}/{pool}/{shard}/{queries}.npz     nearest images within a shard
       neighbors/{model}/{layer}/{pool}/merged/{queries}.npz      nearest images for every database size
"""


rule build_index:
    input:
        codes="<results>/codes/{model}/{layer}/{pool}/{shard}.npy",
    output:
        ensure("<results>/index/{model}/{layer}/{pool}/{shard}.faiss", non_empty=True),
    log:
        "<logs>/build_index/{model}/{layer}/{pool}/{shard}.log",
    benchmark:
        "<benchmarks>/build_index/{model}/{layer}/{pool}/{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        job=job("build_index", factory=CONFIG.index.factory),
    shell:
        "python {params.job} --codes {input.codes:q} --output {output:q} --threads {threads} --log {log:q}"


rule search_shard:
    input:
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
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        job=lambda wildcards: job(
            "search_shard",
            neighbors=CONFIG.index.neighbors,
            probes=CONFIG.index.probes,
            shard=wildcards.shard,
        ),
    shell:
        "python {params.job} --features {input.features:q} --pca {input.pca:q} --index {input.index:q}"
        " --output {output:q} --threads {threads} --log {log:q}"


rule merge_neighbors:
    input:
        shards=lambda wildcards: [
            f"<results>/neighbors/{{model}}/{{layer}}/{{pool}}/{shard}/{{queries}}.npz"
            for shard in shards_of(CONFIG, wildcards.pool)
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
        job=lambda wildcards: job(
            "merge_neighbors",
            neighbors=CONFIG.index.neighbors,
            sizes=sorted(CONFIG.pools[wildcards.pool].sizes),
            stops=[int(shard.split("-")[1]) for shard in shards_of(CONFIG, wildcards.pool)],
        ),
    shell:
        "python {params.job} --shards {input.shards:q} --output {output:q} --log {log:q}"
