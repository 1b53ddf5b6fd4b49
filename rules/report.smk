"""Tables and figures, each beside the CSV it was drawn from.

Needs: accuracy.csv, models/*/clean_accuracy.json.
Makes: table1.{csv,md,tex}, fig5.{csv,pdf,png}
       images/{set}/sheet.png    a look at an image set
"""


rule make_table1:
    input:
        script=PLAN.script("make_table1"),
        modules=PLAN.modules("make_table1"),
        accuracy="<results>/accuracy.csv",
        clean=[f"<results>/models/{model}/clean_accuracy.json" for model in PLAN.models()],
    output:
        csv="<results>/table1.csv",
        md="<results>/table1.md",
        tex="<results>/table1.tex",
    log:
        "<logs>/make_table1.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=base_values("attack", "combination", "epsilon", "features", "neighbors", "space")),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy} --models {input.clean}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --log {log}"


rule plot_fig5:
    input:
        script=PLAN.script("plot_fig5"),
        modules=PLAN.modules("plot_fig5"),
        accuracy="<results>/accuracy.csv",
    output:
        csv="<results>/fig5.csv",
        pdf="<results>/fig5.pdf",
        png="<results>/fig5.png",
    log:
        "<logs>/plot_fig5.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=base_values("attack", "combination", "features", "neighbors", "space", "weighting")),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"


rule draw_sheet:
    input:
        script=PLAN.script("draw_sheet"),
        modules=lambda wildcards: PLAN.modules("draw_sheet", *PLAN.image_modules(wildcards.set)),
        manifest="<results>/images/{set}/manifest.parquet",
        description="<results>/images/{set}/set.json",
    output:
        "<results>/images/{set}/sheet.png",
    log:
        "<logs>/draw_sheet/{set}.log",
    conda:
        ENVIRONMENT
    shell:
        "python {input.script} --manifest {input.manifest} --description {input.description} --output {output} --log {log}"
