"""Smoothed retrieval with certificates (RetrievalGuard): embeddings of gallery and queries.

Needs: images/, models/.
Makes: retrievalguard/tasks/{task}.npz                                images of the gallery, and queries
       retrievalguard/embeddings/{embedding}/sigma-{sigma}.npz        what is done to the network's features
       retrievalguard/{task}/{embedding}/sigma-{sigma}/gallery.npz    vectors of the gallery
       retrievalguard/{task}/{embedding}/sigma-{sigma}/draws.npy      embeddings of noisy copies of the queries
       retrievalguard/{task}/{embedding}/sigma-{sigma}/base.npz       embeddings of the queries
"""

GUARD = f"{ROOT}/{{task}}/{{embedding}}/sigma-{{sigma}}"
GUARDED = CONFIG.retrieval


wildcard_constraints:
    task=one_of(GUARDED.tasks if GUARDED else []),
    embedding=one_of(GUARDED.embeddings if GUARDED else []),
    sigma=one_of(guard_sigmas(CONFIG)),
    certificate=one_of(GUARDED.certificates if GUARDED else []),


rule draw_task:
    input:
        unpack(task_sets),
    output:
        ensure(f"{ROOT}/tasks/{{task}}.npz", non_empty=True),
    log:
        "<logs>/draw_task/{task}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        job=task_job,
    shell:
        "python {params.job} --gallery {input.gallery:q} --gallery-manifest {input.gallery_manifest:q}"
        " --queries {input.queries:q} --queries-manifest {input.queries_manifest:q} --output {output:q} --log {log:q}"


rule fit_embedding:
    input:
        model=lambda wildcards: embedding_model(wildcards, "model.json"),
        weights=lambda wildcards: embedding_model(wildcards, "weights.safetensors"),
        images=lambda wildcards: set_file(fitted_on(CONFIG, embedding_of(wildcards)), "set.json"),
        manifest=lambda wildcards: set_file(fitted_on(CONFIG, embedding_of(wildcards)), "manifest.parquet"),
    output:
        ensure(f"{ROOT}/embeddings/{{embedding}}/sigma-{{sigma}}.npz", non_empty=True),
    log:
        "<logs>/fit_embedding/{embedding}/sigma-{sigma}.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=60,
    params:
        job=fit_job,
    shell:
        "python {params.job} --model {input.model:q} --images {input.images:q} --manifest {input.manifest:q}"
        " --file {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule smooth_gallery:
    input:
        **asked_of_network(),
    output:
        ensure(f"{GUARD}/gallery.npz", non_empty=True),
    log:
        "<logs>/smooth_gallery/{task}/{embedding}/sigma-{sigma}.log",
    benchmark:
        "<benchmarks>/smooth_gallery/{task}/{embedding}/sigma-{sigma}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=720,
    params:
        job=lambda wildcards: guard_job(
            "smooth_gallery", wildcards, draws=GUARDED.gallery_draws, gallery=embedding_of(wildcards).gallery
        ),
    shell:
        "python {params.job} --task {input.task:q} --model {input.model:q} --transform {input.transform:q}"
        " --vectors {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule draw_queries:
    input:
        **asked_of_network(),
    output:
        draws=ensure(f"{GUARD}/draws.npy", non_empty=True),
        base=ensure(f"{GUARD}/base.npz", non_empty=True),
    log:
        "<logs>/draw_queries/{task}/{embedding}/sigma-{sigma}.log",
    benchmark:
        "<benchmarks>/draw_queries/{task}/{embedding}/sigma-{sigma}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=1440,
    params:
        job=lambda wildcards: guard_job("draw_queries", wildcards, draws=GUARDED.draws, first=GUARDED.first_draws),
    shell:
        "python {params.job} --task {input.task:q} --model {input.model:q} --transform {input.transform:q}"
        " --file {output.draws:q} --base {output.base:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


include: "retrieval_attacks.smk"
include: "retrieval_rows.smk"
