"""What approximate search costs and saves: each index that is compared, on the base values.

Needs: codes/ and skipped/ of the shards, softmax/ of the shards, features/ of the query sets, pca/, attacks/clean.npz.
Makes: index/{model}/{layer}/{pool}/report/{index}.npz   its lists, their votes, its size, and CPU seconds
"""

from nndefense.flow.index_report import measured_file, measured_indexes, measured_packs, measuring_memory

ASKED = measured_packs(CONFIG)
ASKED_FEATURES = f"<results>/features/{layer_place(CONFIG, CONFIG.base.features)}/queries"
BASE_DATABASE = deployed_shards(shards_of(CONFIG, CONFIG.base.pool))

for one in measured_indexes(CONFIG):

    rule:
        name:
            f"measure_index_{one.word}"
        input:
            codes=BASE_DATABASE["codes"],
            skipped=BASE_DATABASE["skipped"],
            softmax=BASE_DATABASE["softmax"],
            weights=BASE_DATABASE["confidences"],
            checks=BASE_DATABASE["checks"],
            pca=BASE_DATABASE["pca"],
            queries=[f"{ASKED_FEATURES}/{file_of(CONFIG, pack)}.npy" for pack in ASKED],
            clean="<results>/attacks/clean.npz",
        output:
            ensure(measured_file(CONFIG, one), non_empty=True),
        log:
            f"<logs>/measure_index/{one.word}.log",
        benchmark:
            f"<benchmarks>/measure_index/{one.word}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=measuring_memory(CONFIG),
            runtime=1440,
        params:
            job=job(
                "measure_index",
                combination=CONFIG.base.combination,
                factory=one.factory,
                members=[queries.member for pack in ASKED for queries in pack],
                neighbors=CONFIG.base.neighbors,
                probes=one.probes,
                samples=CONFIG.features.pca_samples,
                weighting=CONFIG.base.weighting,
            ),
        shell:
            "python {params.job} --codes {input.codes:q} --skipped {input.skipped:q} --softmax {input.softmax:q}"
            " --weights {input.weights:q} --checks {input.checks:q} --pca {input.pca:q} --queries {input.queries:q}"
            " --clean {input.clean:q} --output {output:q} --threads {threads} --log {log:q}"
