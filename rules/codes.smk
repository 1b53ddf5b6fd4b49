"""Codes: features reduced by a PCA that is fitted on the first images of a pool.

Needs: features/ and skipped/ of the shards.
Makes: pca/{model}/{layer}/{pool}.npz
       codes/{model}/{layer}/{pool}/{shard}.npy   of the shards whose features are kept
"""


rule fit_pca:
    input:
        features=sample_files("features"),
        skipped=sample_files("skipped"),
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
        "python {params.job} --features {input.features:q} --skipped {input.skipped:q} --output {output:q} --log {log:q}"


for number, pool, layers in [one for one in POOL_PASSES if one[2]]:

    rule:
        name:
            f"encode_features{pass_word(number)}_{pool}"
        input:
            features=[f"<results>/features/{{model}}/{layer}/{pool}/{{shard}}.npy" for layer in layers],
            pca=[f"<results>/pca/{{model}}/{layer}/{pool}.npz" for layer in layers],
        output:
            codes=[f"<results>/codes/{{model}}/{layer}/{pool}/{{shard}}.npy" for layer in layers],
        log:
            f"<logs>/encode_features{pass_word(number)}/{{model}}/{pool}/{{shard}}.log",
        benchmark:
            f"<benchmarks>/encode_features{pass_word(number)}/{{model}}/{pool}/{{shard}}.tsv"
        wildcard_constraints:
            model=pass_encoder(CONFIG, number),
            shard=one_of(KEPT_SHARDS),
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            mem_mb=1000,
            runtime=120,
        params:
            job=job("encode_features", type=CONFIG.index.codes),
        shell:
            "python {params.job} --features {input.features:q} --pca {input.pca:q} --codes {output.codes:q} --log {log:q}"
