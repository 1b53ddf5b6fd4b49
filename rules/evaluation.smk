"""Result rows of every evaluation kind: measured on the answers, which is quick, where they are shown.

Needs: predictions/.
Makes: {kind}.csv   all rows of a kind, e.g. accuracy.csv
"""

from nndefense.report.piece import run_facts


rule collect_rows:
    input:
        parts=lambda wildcards: all_files(CONFIG),
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
        job=lambda wildcards: job(
            "collect_rows",
            KINDS[wildcards.kind].target,
            facts=run_facts(CONFIG),
            target=KINDS[wildcards.kind].target,
        ),
    shell:
        "python {params.job} --parts {input.parts:q} --output {output:q} --log {log:q}"
