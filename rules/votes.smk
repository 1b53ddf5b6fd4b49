"""Answers of the nearest-neighbour defence: votes of neighbours. NumPy only.

Needs: neighbors/ (merged), softmax/ of the shards, attacks/ (labels and distances).
Makes: predictions/{model}/{layer}/{queries}.npz   predicted classes for every pool, size, K, weighting, combination
"""


rule vote:
    input:
        queries=queries_file,
        neighbors=voting("<results>/neighbors/{model}/{layer}/{pool}/merged/{queries}.npz"),
        softmax=voting("<results>/softmax/{model}/{pool}/{shard}.npy"),
        weights=voting("<results>/softmax/{model}/{pool}/{shard}.weights.npy"),
    output:
        predictions=ensure("<results>/predictions/{model}/{layer}/{queries}.npz", non_empty=True),
    log:
        "<logs>/vote/{model}/{layer}/{queries}.log",
    benchmark:
        "<benchmarks>/vote/{model}/{layer}/{queries}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        job=lambda wildcards: job(
            "vote",
            combinations=CONFIG.votes.combinations,
            k=CONFIG.votes.neighbors,
            layer=wildcards.layer,
            pools=pools_of(CONFIG, wildcards.layer),
            queries_name=wildcards.queries,
            weightings=CONFIG.votes.weightings,
        ),
    shell:
        "python {params.job} --queries {input.queries:q} --neighbors {input.neighbors:q} --softmax {input.softmax:q}"
        " --weights {input.weights:q} --predictions {output.predictions:q} --log {log:q}"
