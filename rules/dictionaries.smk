"""Semantic reconstruction dictionaries: clusters of latents, and a convolutional dictionary of each.

Needs: images/ (that they are learnt from), models/.
Makes: srd/latents.npz        what the network's last layer is given, of every image
       srd/clusters.npz       clusters of each class: means, deviations, members
       srd/central.npz        the images nearest to the mean of each
       srd/parts/{part}.npz   dictionaries of some clusters, or the one of all images
       srd/dictionaries.npz   all of them
"""

SRD = CONFIG.dictionaries


rule extract_latents:
    input:
        description=learnt_from,
        manifest=lambda wildcards: set_file(SRD.images, "manifest.parquet"),
        model=lambda wildcards: f"<results>/models/{dictionary_model(CONFIG)}/model.json",
        weights=lambda wildcards: f"<results>/models/{dictionary_model(CONFIG)}/weights.safetensors",
    output:
        ensure(LATENTS, non_empty=True),
    log:
        "<logs>/extract_latents.log",
    benchmark:
        "<benchmarks>/extract_latents.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=720,
    params:
        job=latents_job,
    shell:
        "python {params.job} --model {input.model:q} --images {input.description:q} --manifest {input.manifest:q}"
        " --output {output:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule find_clusters:
    input:
        description=learnt_from,
        latents=LATENTS,
    output:
        clusters=ensure(CLUSTERS, non_empty=True),
        central=ensure(CENTRAL, non_empty=True),
    log:
        "<logs>/find_clusters.log",
    benchmark:
        "<benchmarks>/find_clusters.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        job=lambda wildcards: job(
            "find_clusters", *image_targets(CONFIG, SRD.images), seed=CONFIG.seed, **SRD.clusters.model_dump()
        ),
    shell:
        "python {params.job} --latents {input.latents:q} --images {input.description:q} --output {output.clusters:q}"
        " --examples {output.central:q} --threads {threads} --log {log:q}"


rule learn_dictionaries:
    input:
        description=learnt_from,
        clusters=CLUSTERS,
    output:
        ensure(part_file("{part}"), non_empty=True),
    log:
        "<logs>/learn_dictionaries/{part}.log",
    benchmark:
        "<benchmarks>/learn_dictionaries/{part}.tsv"
    wildcard_constraints:
        part=one_of(learnt_parts(CONFIG)),
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=4000,
        runtime=720,
    params:
        job=learning_job,
    shell:
        "python {params.job} --clusters {input.clusters:q} --images {input.description:q} --output {output:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule gather_dictionaries:
    input:
        clusters=CLUSTERS,
        parts=[part_file(part) for part in learnt_parts(CONFIG)],
    output:
        ensure(DICTIONARIES, non_empty=True),
    log:
        "<logs>/gather_dictionaries.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=lambda wildcards: job("gather_dictionaries", low_pass=SRD.learning.low_pass),
    shell:
        "python {params.job} --clusters {input.clusters:q} --parts {input.parts:q} --output {output:q} --log {log:q}"
