"""What holds for the whole run: all accuracy rows in one file, and the paper's claims judged on its predictions.

Needs: accuracy/, predictions/.
Makes: accuracy.csv, claims.{csv,md}
"""


rule collect_accuracy:
    input:
        script=PLAN.script("collect_accuracy"),
        modules=PLAN.modules("collect_accuracy"),
        parts=[*PLAN.parts(PLAN.layers, PLAN.queries), *PLAN.defended_parts("accuracy")],
    output:
        ensure("<results>/accuracy.csv", non_empty=True),
    log:
        "<logs>/collect_accuracy.log",
    conda:
        ENVIRONMENT
    shell:
        "python {input.script} --parts {input.parts} --output {output} --log {log}"


rule make_claims:
    input:
        script=PLAN.script("make_claims"),
        modules=PLAN.modules("make_claims"),
        predictions=[
            *PLAN.parts(PLAN.layers, PLAN.queries, "predictions"),
            *PLAN.defended_parts("predictions"),
        ],
    output:
        csv="<results>/claims.csv",
        md="<results>/claims.md",
    log:
        "<logs>/make_claims.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=Settings(
            base=config["base"],
            dataset=config["dataset"],
            model=TARGET,
            root=f"{PLAN.results}/predictions/{TARGET}",
            seed=config["seed"],
        ),
    shell:
        "python {input.script} {params.settings} --predictions {input.predictions}"
        " --csv {output.csv} --md {output.md} --log {log}"
