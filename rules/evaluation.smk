"""Result rows of every evaluation kind, made of the answers.

Needs: predictions/.
Makes: {kind}/{model}/{layer or defense}/{queries}.csv   e.g. accuracy
       {kind}.csv                                        all of them
"""


rule measure_rows:
    input:
        predictions="<results>/predictions/{model}/{system}/{queries}.npz",
    output:
        ensure("<results>/{kind}/{model}/{system}/{queries}.csv", non_empty=True),
    log:
        "<logs>/measure_rows/{kind}/{model}/{system}/{queries}.log",
    wildcard_constraints:
        system=one_of([NO_DEFENSE, *CONFIG.defenses, *CONFIG.features.names]),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=lambda wildcards: job(
            "measure_rows",
            KINDS[wildcards.kind].target,
            dataset=CONFIG.dataset,
            model=wildcards.model,
            queries_name=wildcards.queries,
            seed=CONFIG.seed,
            system=wildcards.system,
            target=KINDS[wildcards.kind].target,
        ),
    shell:
        "python {params.job} --predictions {input.predictions:q} --output {output:q} --log {log:q}"


rule collect_rows:
    input:
        parts=lambda wildcards: all_files(CONFIG, wildcards.kind),
    output:
        ensure("<results>/{kind}.csv", non_empty=True),
    log:
        "<logs>/collect_rows/{kind}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=lambda wildcards: job("collect_rows", KINDS[wildcards.kind].target, target=KINDS[wildcards.kind].target),
    shell:
        "python {params.job} --parts {input.parts:q} --output {output:q} --log {log:q}"
