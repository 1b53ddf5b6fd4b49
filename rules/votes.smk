"""Answers of the nearest-neighbour defence: votes of neighbours. NumPy only.

Needs: neighbors/, softmax/ of the shards, attacks/ (labels, distances, and what the attacks did not do anything to).
Makes: predictions/{model}/{layer}/{pack}.npz   predicted classes for every pool, size, K, weighting, combination
"""

for batch in SEARCHED:

    rule:
        name:
            f"vote_{batch.word}"
        input:
            queries=[attack_file(pack) for pack in batch.packs],
            neighbors=listed_neighbors(batch.packs),
            softmax=voting("<results>/softmax/{model}/{pool}/{shard}.npy"),
            weights=voting("<results>/softmax/{model}/{pool}/{shard}.weights.npy"),
            checks=voting("<results>/softmax/{model}/{pool}/{shard}.checks.npy"),
            clean="<results>/attacks/clean.npz",
            pixels=voting("<results>/softmax/{model}/{pool}/{shard}.pixels.npy"),
            left_out=voting("<results>/left_out/{place}/{pool}/{shard}.npy") if LEFT_OUT == "left_out" else [],
        output:
            predictions=[f"<results>/predictions/{{model}}/{{layer}}/{pack}.npz" for pack in batch.packs],
        log:
            f"<logs>/vote/{{model}}/{{layer}}/{batch.word}.log",
        benchmark:
            f"<benchmarks>/vote/{{model}}/{{layer}}/{batch.word}.tsv"
        wildcard_constraints:
            layer=one_of(batch.systems),
        conda:
            ENVIRONMENT
        resources:
            mem_mb=2000,
            runtime=120,
        params:
            job=lambda wildcards, packs=batch.packs: job(
                "vote", names=list(map(str, packs)), **vote_values(wildcards.layer)
            ),
        shell:
            "python {params.job} --queries {input.queries:q} --neighbors {input.neighbors:q}"
            " --softmax {input.softmax:q} --weights {input.weights:q} --checks {input.checks:q}"
            " --clean {input.clean:q} --pixels {input.pixels:q} --left-out {input.left_out:q} --predictions {output.predictions:q} --log {log:q}"
