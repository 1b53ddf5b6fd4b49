"""What is proven of defences: certificates of their answers. NumPy only.

Needs: attacks/clean.npz (labels), neighbors/ (merged) of the clean images, softmax/ of the shards.
Makes: certificates/poisoning/{model}/{layer}/clean.npz   of the votes, for every pool, size, K, weighting, combination:
                                                          classes, and how many inserted images cannot change them
"""


rule certify_votes:
    input:
        queries="<results>/attacks/clean.npz",
        neighbors=voting("<results>/neighbors/{model}/{layer}/{pool}/merged/clean.npz"),
        softmax=voting("<results>/softmax/{model}/{pool}/{shard}.npy"),
        weights=voting("<results>/softmax/{model}/{pool}/{shard}.weights.npy"),
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
        job=lambda wildcards: job(
            "certify_votes",
            combinations=CONFIG.votes.combinations,
            k=CONFIG.votes.neighbors,
            layer=wildcards.layer,
            pools=pools_of(CONFIG, wildcards.layer),
            weightings=CONFIG.votes.weightings,
        ),
    shell:
        "python {params.job} --queries {input.queries:q} --neighbors {input.neighbors:q} --softmax {input.softmax:q}"
        " --weights {input.weights:q} --certificates {output.certificates:q} --log {log:q}"
