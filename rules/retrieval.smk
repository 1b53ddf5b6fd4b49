"""Retrieval: predictions by votes of neighbours, and without a defence; accuracy rows. NumPy only.

Needs: neighbors/ (merged), softmax/ of the shards and of the query sets, attacks/ (labels and distances).
Makes: predictions/{model}/{layer}/{queries}.npz    predicted classes for every pool, size, K, weighting, combination
       accuracy/{model}/{layer}/{queries}.csv       their accuracy
       predictions/, accuracy/{model}/undefended/{queries}.*    the same of the model itself
"""


rule vote:
    input:
        script=PLAN.script("vote"),
        modules=PLAN.modules("vote"),
        queries="<results>/attacks/{queries}.npz",
        neighbors=lambda wildcards: [
            f"<results>/neighbors/{{model}}/{{layer}}/{pool}/merged/{{queries}}.npz"
            for pool in PLAN.pools_of(wildcards.layer)
        ],
        softmax=lambda wildcards: PLAN.stores(wildcards.layer, ".npy"),
        weights=lambda wildcards: PLAN.stores(wildcards.layer, ".weights.npy"),
    output:
        predictions=ensure("<results>/predictions/{model}/{layer}/{queries}.npz", non_empty=True),
        accuracy=ensure("<results>/accuracy/{model}/{layer}/{queries}.csv", non_empty=True),
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
        settings=lambda wildcards: Settings(
            combinations=config["votes"]["combinations"],
            dataset=config["dataset"],
            layer=wildcards.layer,
            model=wildcards.model,
            neighbors_used=config["votes"]["neighbors"],
            pools=PLAN.pools_of(wildcards.layer),
            queries_name=wildcards.queries,
            seed=config["seed"],
            weightings=config["votes"]["weightings"],
        ),
    shell:
        "python {input.script} {params.settings} --queries {input.queries} --neighbors {input.neighbors}"
        " --softmax {input.softmax} --weights {input.weights} --predictions {output.predictions} --accuracy {output.accuracy} --log {log}"


rule evaluate_undefended:
    input:
        script=PLAN.script("evaluate_undefended"),
        modules=PLAN.modules("evaluate_undefended"),
        queries="<results>/attacks/{queries}.npz",
        softmax="<results>/softmax/{model}/queries/{queries}.npy",
    output:
        predictions=ensure("<results>/predictions/{model}/undefended/{queries}.npz", non_empty=True),
        accuracy=ensure("<results>/accuracy/{model}/undefended/{queries}.csv", non_empty=True),
    log:
        "<logs>/evaluate_undefended/{model}/{queries}.log",
    conda:
        ENVIRONMENT
    params:
        settings=lambda wildcards: Settings(
            dataset=config["dataset"], model=wildcards.model, queries_name=wildcards.queries, seed=config["seed"]
        ),
    shell:
        "python {input.script} {params.settings} --queries {input.queries} --softmax {input.softmax}"
        " --predictions {output.predictions} --accuracy {output.accuracy} --log {log}"
