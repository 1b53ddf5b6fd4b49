"""Defences as something to use: `nndefense predict`, `nndefense.load` for other libraries, and `nndefense rescore`.

Needs: models/, pca/, index/, codes/, softmax/ and images of the base values' database; what each defence needs.
Makes: knn.json                    what the deployed nearest-neighbour defence consists of
       attackers/{database}.json   the same of an attacker who has another database
       retrievals/{defense}.json   the same of further nearest-neighbour defences, by layers or votes of their own
       systems/{defense}.json      what answers images in this run, of every defence
"""


rule describe_defense:
    input:
        **deployed_shards(shards_of(CONFIG, CONFIG.base.pool)),
    output:
        ensure("<results>/knn.json", non_empty=True),
    log:
        "<logs>/describe_defense.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=retrieval_job(NEIGHBORS),
    shell:
        "python {params.job} --model {input.model:q} --encoder {input.encoder:q} --pca {input.pca:q} --codes {input.codes:q}"
        " --skipped {input.skipped:q} --index {input.index:q} --checks {input.checks:q} --pixels {input.pixels:q} --softmax {input.softmax:q} --weights {input.confidences:q} --pool {input.pool:q}"
        " --sets {input.sets:q} --task {input.task:q} --output {output:q} --log {log:q}"


use rule describe_defense as describe_attacker with:
    input:
        unpack(lambda wildcards: deployed_shards(attacker_shards(CONFIG, AttackDatabase.parse(wildcards.database)))),
    output:
        ensure("<results>/attackers/{database}.json", non_empty=True),
    log:
        "<logs>/describe_attacker/{database}.log",


use rule describe_defense as describe_neighbors with:
    input:
        unpack(
            lambda wildcards: deployed_shards(
                shards_of(CONFIG, CONFIG.base.pool), searched_layers(CONFIG)[wildcards.defense]
            )
        ),
    output:
        ensure("<results>/retrievals/{defense}.json", non_empty=True),
    log:
        "<logs>/describe_neighbors/{defense}.log",
    wildcard_constraints:
        defense=one_of(name for name, one in CONFIG.defenses.items() if one.kind == NEIGHBORS),
    params:
        job=lambda wildcards: retrieval_job(wildcards.defense),


rule describe_system:
    input:
        model=lambda wildcards: deployed_model(wildcards, "model.json"),
        weights=lambda wildcards: deployed_model(wildcards, "weights.safetensors"),
        target=f"<results>/models/{TARGET}/model.json",
        clean="<results>/attacks/clean.npz",
        needs=lambda wildcards: system_needs(wildcards).files,
    output:
        ensure("<results>/systems/{defense}.json", non_empty=True),
    log:
        "<logs>/describe_system/{defense}.log",
    wildcard_constraints:
        defense=one_of([NO_DEFENSE, NEIGHBORS, *CONFIG.defenses]),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=system_job,
    shell:
        "python {params.job} --model {input.model:q} --target {input.target:q} --clean {input.clean:q}"
        " --files {input.needs:q} --output {output:q} --log {log:q}"
