"""Images.

Needs: the image sets of the configuration (drawn, or files at the places it names).
Makes: images/{set}/manifest.parquet   source, label and tag of every row
       images/{set}/set.json           how to open the set again, and its class names
       pools/{pool}.parquet            a pool's images in the seeded order that its shards are cut from
       images/{set}/sheet.png          a look at the set
       attacks/clean.npz               the test images, the query set that every attack starts from
"""


rule list_images:
    input:
        script=PLAN.script("list_images"),
        modules=lambda wildcards: PLAN.modules("list_images", *PLAN.image_modules(wildcards.set)),
    output:
        manifest=ensure("<results>/images/{set}/manifest.parquet", non_empty=True),
        description=ensure("<results>/images/{set}/set.json", non_empty=True),
    log:
        "<logs>/list_images/{set}.log",
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: Settings(image_set=config["images"][wildcards.set], name=wildcards.set),
    shell:
        "python {input.script} {params.settings} --manifest {output.manifest} --description {output.description}"
        " --log {log}"


rule build_pool:
    input:
        script=PLAN.script("build_pool"),
        modules=PLAN.modules("build_pool"),
        manifests=lambda wildcards: pool_sets(wildcards, "manifest.parquet"),
        task=f"<results>/images/{config['queries']['images']}/set.json",
    output:
        ensure("<results>/pools/{pool}.parquet", non_empty=True),
    log:
        "<logs>/build_pool/{pool}.log",
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: Settings(
            names=config["pools"][wildcards.pool]["images"],
            pool=wildcards.pool,
            seed=config["seed"],
            tags=config["pools"][wildcards.pool]["tags"],
        ),
    shell:
        "python {input.script} {params.settings} --manifests {input.manifests} --task {input.task}"
        " --output {output} --log {log}"


rule make_clean_set:
    input:
        script=PLAN.script("make_clean_set"),
        modules=PLAN.modules("make_clean_set", *PLAN.image_modules(config["queries"]["images"])),
        manifest=f"<results>/images/{config['queries']['images']}/manifest.parquet",
        description=f"<results>/images/{config['queries']['images']}/set.json",
    output:
        ensure("<results>/attacks/clean.npz", non_empty=True),
    log:
        "<logs>/make_clean_set.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(
            classes=config["classes"],
            count=config["queries"]["count"],
            seed=config["seed"],
            skip_limit=config["skip_limit"],
        ),
    shell:
        "python {input.script} {params.settings} --manifest {input.manifest} --description {input.description}"
        " --output {output} --log {log}"


rule draw_sheet:
    input:
        script=PLAN.script("draw_sheet"),
        modules=lambda wildcards: PLAN.modules("draw_sheet", *PLAN.image_modules(wildcards.set)),
        manifest="<results>/images/{set}/manifest.parquet",
        description="<results>/images/{set}/set.json",
    output:
        "<results>/images/{set}/sheet.png",
    log:
        "<logs>/draw_sheet/{set}.log",
    conda:
        ENVIRONMENT
    shell:
        "python {input.script} --manifest {input.manifest} --description {input.description} --output {output} --log {log}"
