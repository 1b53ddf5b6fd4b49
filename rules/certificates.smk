"""What is proven of defences: certificates of their answers. NumPy only.

Needs: attacks/clean.npz (labels), neighbors/ of the clean images, softmax/ of the shards.
Makes: certificates/poisoning/{model}/{layer}/clean.npz   of the votes, for every pool, size, K, weighting, combination:
                                                          classes, and how many inserted images cannot change them
"""


rule certify_votes:
    input:
        queries="<results>/attacks/clean.npz",
        neighbors=listed_neighbors(["clean"]),
        softmax=voting("<results>/softmax/{model}/{pool}/{shard}.npy"),
        weights=voting("<results>/softmax/{model}/{pool}/{shard}.weights.npy"),
        checks=voting("<results>/softmax/{model}/{pool}/{shard}.checks.npy"),
    output:
        certificates=ensure("<results>/certificates/poisoning/{model}/{layer}/clean.npz", non_empty=True),
    log:
        "<logs>/certify_votes/{model}/{layer}.log",
    benchmark:
        "<benchmarks>/certify_votes/{model}/{layer}.tsv"
    wildcard_constraints:
        layer=one_of([CONFIG.base.features]),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        job=lambda wildcards: job("certify_votes", **vote_values(wildcards.layer)),
    shell:
        "python {params.job} --queries {input.queries:q} --neighbors {input.neighbors:q} --softmax {input.softmax:q}"
        " --weights {input.weights:q} --checks {input.checks:q} --certificates {output.certificates:q} --log {log:q}"
