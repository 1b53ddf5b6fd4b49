"""Codes: features reduced by a PCA that is fitted on the first images of a pool.

Needs: features/ of the shards.
Makes: pca/{model}/{layer}/{pool}.npz
       codes/{model}/{layer}/{pool}/{shard}.npy
"""


rule fit_pca:
    input:
        features=lambda wildcards: [
            f"<results>/features/{{model}}/{{layer}}/{{pool}}/{shard}.npy"
            for shard in shards_of(CONFIG, wildcards.pool, CONFIG.features.pca_samples)
        ],
    output:
        ensure("<results>/pca/{model}/{layer}/{pool}.npz", non_empty=True),
    log:
        "<logs>/fit_pca/{model}/{layer}/{pool}.log",
    benchmark:
        "<benchmarks>/fit_pca/{model}/{layer}/{pool}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        job=job(
            "fit_pca",
            components=CONFIG.features.components,
            samples=CONFIG.features.pca_samples,
            seed=CONFIG.seed,
        ),
    shell:
        "python {params.job} --features {input.features:q} --output {output:q} --log {log:q}"


rule encode_features:
    input:
        features="<results>/features/{model}/{layer}/{pool}/{shard}.npy",
        pca="<results>/pca/{model}/{layer}/{pool}.npz",
    output:
        ensure("<results>/codes/{model}/{layer}/{pool}/{shard}.npy", non_empty=True),
    log:
        "<logs>/encode_features/{model}/{layer}/{pool}/{shard}.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        job=job("encode_features"),
    shell:
        "python {params.job} --features {input.features:q} --pca {input.pca:q} --output {output:q} --log {log:q}"
