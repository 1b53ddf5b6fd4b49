"""Certificates of a smoothed retrieval and its result rows, from what is stored: no forward pass.

Needs: retrievalguard/ (galleries, draws, answers under attack).
Makes: retrievalguard/{task}/{embedding}/sigma-{sigma}/{certificate}.npz   answers and their radii
       retrievalguard/{task}/{embedding}/sigma-{sigma}/rows.csv            result rows
       retrievalguard/{task}/{embedding}/sigma-{sigma}/answers.npz         the classes that they are of
       retrievalguard/{task}/{embedding}/sigma-{sigma}/system.json         how `nndefense certify` asks it
"""


rule certify_queries:
    input:
        gallery=f"{GUARD}/gallery.npz",
        base=f"{GUARD}/base.npz",
        draws=f"{GUARD}/draws.npy",
    output:
        ensure(f"{GUARD}/{{certificate}}.npz", non_empty=True),
    log:
        "<logs>/certify_queries/{task}/{embedding}/sigma-{sigma}/{certificate}.log",
    benchmark:
        "<benchmarks>/certify_queries/{task}/{embedding}/sigma-{sigma}/{certificate}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        job=lambda wildcards: job(
            "certify_queries",
            CERTIFICATES[wildcards.certificate].target,
            alpha=GUARDED.alpha,
            certificate=wildcards.certificate,
        ),
    shell:
        "python {params.job} --gallery {input.gallery:q} --base {input.base:q} --draws {input.draws:q}"
        " --output {output:q} --log {log:q}"


rule measure_retrieval:
    input:
        gallery=f"{GUARD}/gallery.npz",
        base=f"{GUARD}/base.npz",
        draws=f"{GUARD}/draws.npy",
        certificates=every_certificate,
        attacked=[f"{GUARD}/attacked.npz"] if GUARDED and GUARDED.attack else [],
    output:
        rows=ensure(f"{GUARD}/rows.csv", non_empty=True),
        answers=ensure(f"{GUARD}/answers.npz", non_empty=True),
    log:
        "<logs>/measure_retrieval/{task}/{embedding}/sigma-{sigma}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        job=lambda wildcards: job(
            "measure_retrieval",
            dataset=CONFIG.dataset,
            embedding=wildcards.embedding,
            model_name=embedding_of(wildcards).model,
            names=GUARDED.certificates,
            radii=GUARDED.radii,
            seed=CONFIG.seed,
            task=wildcards.task,
        ),
    shell:
        "python {params.job} --gallery {input.gallery:q} --base {input.base:q} --draws {input.draws:q}"
        " --certificates {input.certificates:q} --attacked {input.attacked:q} --answers {output.answers:q}"
        " --output {output.rows:q} --log {log:q}"


rule describe_retrieval:
    input:
        **asked_of_network(),
        gallery=f"{GUARD}/gallery.npz",
        images=lambda wildcards: set_file(GUARDED.tasks[wildcards.task].queries, "set.json"),
        names=lambda wildcards: set_file(GUARDED.tasks[wildcards.task].gallery, "set.json"),
    output:
        ensure(f"{GUARD}/system.json", non_empty=True),
    log:
        "<logs>/describe_retrieval/{task}/{embedding}/sigma-{sigma}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        job=lambda wildcards: job(
            "describe_retrieval",
            alpha=GUARDED.alpha,
            batch=CONFIG.features.batch,
            certificates=GUARDED.certificates,
            draws=GUARDED.draws,
            embedding_output=embedding_of(wildcards).output,
            first=GUARDED.first_draws,
            name=str(Guard.of(wildcards)),
            sigma=float(wildcards.sigma),
        ),
    shell:
        "python {params.job} --task {input.task:q} --model {input.model:q} --transform {input.transform:q}"
        " --gallery {input.gallery:q} --images {input.images:q} --names {input.names:q} --output {output:q} --log {log:q}"
