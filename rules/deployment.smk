"""The nearest-neighbour defence as something to use: `nndefense predict`, and `nndefense.load` for other libraries.

Needs: models/, pca/, index/, codes/, softmax/ and images of the base values' database.
Makes: knn.json   what the deployed defence consists of
"""

DEPLOYED = {"layer": CONFIG.base.features, "pool": CONFIG.base.pool, "model": TARGET}
SHARDS = shards_of(CONFIG, CONFIG.base.pool)


rule describe_defense:
    input:
        model="<results>/models/{model}/model.json".format(**DEPLOYED),
        weights="<results>/models/{model}/weights.safetensors".format(**DEPLOYED),
        pca="<results>/pca/{model}/{layer}/{pool}.npz".format(**DEPLOYED),
        index=["<results>/index/{model}/{layer}/{pool}/".format(**DEPLOYED) + f"{shard}.faiss" for shard in SHARDS],
        codes=["<results>/codes/{model}/{layer}/{pool}/".format(**DEPLOYED) + f"{shard}.npy" for shard in SHARDS],
        softmax=["<results>/softmax/{model}/{pool}/".format(**DEPLOYED) + f"{shard}.npy" for shard in SHARDS],
        confidences=[
            "<results>/softmax/{model}/{pool}/".format(**DEPLOYED) + f"{shard}.weights.npy" for shard in SHARDS
        ],
        pool="<results>/pools/{pool}.parquet".format(**DEPLOYED),
        sets=[f"<results>/images/{name}/set.json" for name in CONFIG.pools[CONFIG.base.pool].images],
        task=f"<results>/images/{CONFIG.queries.images}/set.json",
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
        job=job(
            "describe_defense",
            combination=CONFIG.base.combination,
            dataset=CONFIG.dataset,
            layer=CONFIG.base.features,
            neighbors=CONFIG.base.neighbors,
            pool_name=CONFIG.base.pool,
            pooled=pooled_sides(CONFIG, [CONFIG.base.features]) or None,
            probes=CONFIG.index.probes,
            searched=CONFIG.index.neighbors,
            weighting=CONFIG.base.weighting,
        ),
    shell:
        "python {params.job} --model {input.model:q} --pca {input.pca:q} --index {input.index:q}"
        " --codes {input.codes:q} --softmax {input.softmax:q} --weights {input.confidences:q} --pool {input.pool:q}"
        " --sets {input.sets:q} --task {input.task:q} --output {output:q} --log {log:q}"
