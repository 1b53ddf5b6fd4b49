"""Images.

Needs: the image sets of the configuration (drawn, or files at the places it names).
Makes: images/{set}/manifest.parquet   source, label and tag of every row
       images/{set}/set.json           how to open the set again, and its class names
       pools/{pool}.parquet            a pool's images in the seeded order that its shards are cut from
       images/{set}/sheet.png          a look at the set
       attacks/clean.npz               the test images, the query set that every attack starts from
"""


rule list_images:
    output:
        manifest=ensure("<results>/images/{set}/manifest.parquet", non_empty=True),
        description=ensure("<results>/images/{set}/set.json", non_empty=True),
    log:
        "<logs>/list_images/{set}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        job=listing_job,
    shell:
        "python {params.job} --manifest {output.manifest:q} --description {output.description:q} --log {log:q}"


rule build_pool:
    input:
        manifests=lambda wildcards: pool_sets(wildcards.pool, "manifest.parquet"),
        sets=lambda wildcards: pool_sets(wildcards.pool, "set.json"),
        task=f"<results>/images/{CONFIG.queries.images}/set.json",
    output:
        ensure("<results>/pools/{pool}.parquet", non_empty=True),
    log:
        "<logs>/build_pool/{pool}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        job=lambda wildcards: job(
            "build_pool",
            names=CONFIG.pools[wildcards.pool].images,
            order=CONFIG.pools[wildcards.pool].order,
            pool=wildcards.pool,
            seed=CONFIG.seed,
            sizes=CONFIG.pools[wildcards.pool].values if CONFIG.pools[wildcards.pool].order == "tars" else None,
            tags=CONFIG.pools[wildcards.pool].tags,
        ),
    shell:
        "python {params.job} --manifests {input.manifests:q} --sets {input.sets:q} --task {input.task:q}"
        " --output {output:q} --log {log:q}"


rule make_clean_set:
    input:
        manifest=f"<results>/images/{CONFIG.queries.images}/manifest.parquet",
        description=f"<results>/images/{CONFIG.queries.images}/set.json",
        without=[],
        task=[],
    output:
        ensure("<results>/attacks/clean.npz", non_empty=True),
    log:
        "<logs>/make_clean_set.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        job=clean_set_job(CONFIG.queries, "queries"),
    shell:
        "python {params.job} --manifest {input.manifest:q} --description {input.description:q}"
        " --without {input.without:q} --task {input.task:q} --output {output:q} --log {log:q}"


rule draw_sheet:
    input:
        manifest="<results>/images/{set}/manifest.parquet",
        description="<results>/images/{set}/set.json",
    output:
        "<results>/images/{set}/sheet.png",
    log:
        "<logs>/draw_sheet/{set}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        job=lambda wildcards: job("draw_sheet", *image_targets(CONFIG, wildcards.set)),
    shell:
        "python {params.job} --manifest {input.manifest:q} --description {input.description:q}"
        " --output {output:q} --log {log:q}"
