"""Database: codes, searched in spans of shards; one pass gives the lists of every size N that ends in a span.

Needs: codes/ and skipped/ of the shards, features/ of the query sets, pca/.
Makes: index/{model}/{layer}/{pool}/trained.faiss           of an approximate search: trained on the first codes,
       index/{model}/{layer}/{pool}/{shard}.faiss           and filled with those of a shard
       neighbors/{model}/{layer}/{pool}/{span}/{pack}.npz   nearest images in a span, up to each stop
       neighbors/{model}/{layer}/{pool}/merged/{pack}.npz   nearest images for every database size, of several spans
"""


rule train_index:
    input:
        codes=sample_files("codes"),
        skipped=sample_files(LEFT_OUT),
    output:
        ensure("<results>/index/{model}/{layer}/{pool}/trained.faiss", non_empty=True),
    log:
        "<logs>/train_index/{model}/{layer}/{pool}.log",
    benchmark:
        "<benchmarks>/train_index/{model}/{layer}/{pool}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        job=job("train_index", factory=CONFIG.index.factory, samples=CONFIG.features.pca_samples),
    shell:
        "python {params.job} --codes {input.codes:q} --skipped {input.skipped:q} --output {output:q}"
        " --threads {threads} --log {log:q}"


rule build_index:
    input:
        trained="<results>/index/{model}/{layer}/{pool}/trained.faiss",
        codes="<results>/codes/{model}/{layer}/{pool}/{shard}.npy",
        skipped=f"<results>/{LEFT_OUT}/{{model}}/{{layer}}/{{pool}}/{{shard}}.npy",
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
        mem_mb=index_memory(CONFIG),
        runtime=240,
    params:
        job=job("build_index"),
    shell:
        "python {params.job} --trained {input.trained:q} --codes {input.codes:q} --skipped {input.skipped:q}"
        " --output {output:q} --threads {threads} --log {log:q}"


for batch in SEARCHED:

    rule:
        name:
            f"search_span_{batch.word}"
        input:
            queries=[f"<results>/features/{{model}}/{{layer}}/queries/{pack}.npy" for pack in batch.packs],
            pca="<results>/pca/{model}/{layer}/{pool}.npz",
            shards=searched_files,
            skipped=span_files(f"{LEFT_OUT}/{{model}}/{{layer}}/{{pool}}/{{shard}}.npy"),
        output:
            neighbors=[f"<results>/neighbors/{{model}}/{{layer}}/{{pool}}/{{span}}/{pack}.npz" for pack in batch.packs],
        log:
            f"<logs>/search_span/{{model}}/{{layer}}/{{pool}}/{{span}}/{batch.word}.log",
        benchmark:
            f"<benchmarks>/search_span/{{model}}/{{layer}}/{{pool}}/{{span}}/{batch.word}.tsv"
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            **SEARCH_GPU,
            mem_mb=search_mb(batch.packs),
            runtime=1440,
        params:
            job=search_job,
        shell:
            "python {params.job} --queries {input.queries:q} --pca {input.pca:q} --shards {input.shards:q}"
            " --skipped {input.skipped:q} --neighbors-files {output.neighbors:q} --threads {threads} --log {log:q}"
            f"{SEARCH_WORDS}"

    rule:
        name:
            f"merge_neighbors_{batch.word}"
        input:
            spans=lambda wildcards, packs=batch.packs: [
                f"<results>/neighbors/{wildcards.model}/{wildcards.layer}/{wildcards.pool}/{span}/{pack}.npz"
                for span in span_names(CONFIG, wildcards.pool)
                for pack in packs
            ],
        output:
            [f"<results>/neighbors/{{model}}/{{layer}}/{{pool}}/merged/{pack}.npz" for pack in batch.packs],
        log:
            f"<logs>/merge_neighbors/{{model}}/{{layer}}/{{pool}}/{batch.word}.log",
        conda:
            ENVIRONMENT
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            job=lambda wildcards: job(
                "merge_neighbors", neighbors=CONFIG.index.neighbors, sizes=CONFIG.pools[wildcards.pool].values
            ),
        shell:
            "python {params.job} --spans {input.spans:q} --output {output:q} --log {log:q}"
