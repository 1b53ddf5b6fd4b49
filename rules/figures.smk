"""Figures, each as PDF and PNG beside the CSV it was drawn from.

Needs: accuracy/ of the rows a figure shows; figure 2 also images, neighbours and softmax rows.
Makes: fig2 … fig6.{csv,pdf,png}
"""


rule plot_fig2:
    input:
        script=PLAN.script("plot_fig2"),
        modules=PLAN.modules("plot_fig2", *PLAN.pool_modules(MAIN_POOL)),
        queries=[f"<results>/attacks/{name}.npz" for name in PLAN.report.shown_queries()],
        neighbors=[
            f"<results>/neighbors/{TARGET}/{config['base']['features']}/{MAIN_POOL}/merged/{name}.npz"
            for name in PLAN.report.shown_queries()
        ],
        predicted=[f"<results>/softmax/{TARGET}/queries/{name}.npy" for name in PLAN.report.shown_queries()],
        pool=f"<results>/pools/{MAIN_POOL}.parquet",
        sets=[f"<results>/images/{name}/set.json" for name in config["pools"][MAIN_POOL]["images"]],
        softmax=[f"<results>/softmax/{TARGET}/{MAIN_POOL}/{shard}.npy" for shard in PLAN.shards(MAIN_POOL)],
        weights=[f"<results>/softmax/{TARGET}/{MAIN_POOL}/{shard}.weights.npy" for shard in PLAN.shards(MAIN_POOL)],
        task=f"<results>/images/{config['queries']['images']}/set.json",
    output:
        csv=shown("<results>/fig2.csv"),
        pdf="<results>/fig2.pdf",
        png=shown("<results>/fig2.png"),
    log:
        "<logs>/plot_fig2.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(queries_names=PLAN.report.shown_queries(), weighting=config["base"]["weighting"]),
    shell:
        "python {input.script} {params.settings} --queries {input.queries} --neighbors {input.neighbors}"
        " --predicted {input.predicted} --pool {input.pool} --sets {input.sets} --softmax {input.softmax}"
        " --weights {input.weights} --description {input.task}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"


rule plot_fig3:
    input:
        script=PLAN.script("plot_fig3"),
        modules=PLAN.modules("plot_fig3"),
        accuracy=PLAN.parts(BASE_LAYER, PLAN.queries_under(config["base"]["attack"])),
    output:
        csv=shown("<results>/fig3.csv"),
        pdf="<results>/fig3.pdf",
        png=shown("<results>/fig3.png"),
    log:
        "<logs>/plot_fig3.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=base_values("attack", "combination", "features", "space", "weighting")),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"


rule plot_fig4:
    input:
        script=PLAN.script("plot_fig4"),
        modules=PLAN.modules("plot_fig4"),
        accuracy=PLAN.parts(PLAN.plain_layers, PLAN.queries_under(config["base"]["attack"])),
    output:
        csv=shown("<results>/fig4.csv"),
        pdf="<results>/fig4.pdf",
        png=shown("<results>/fig4.png"),
    log:
        "<logs>/plot_fig4.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=base_values("attack", "combination", "neighbors", "space", "weighting")),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"


rule plot_fig5:
    input:
        script=PLAN.script("plot_fig5"),
        modules=PLAN.modules("plot_fig5"),
        accuracy=PLAN.parts(BASE_LAYER, PLAN.queries_under(config["base"]["attack"])),
    output:
        csv=shown("<results>/fig5.csv"),
        pdf="<results>/fig5.pdf",
        png=shown("<results>/fig5.png"),
    log:
        "<logs>/plot_fig5.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=base_values("attack", "combination", "features", "neighbors", "space", "weighting")),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"


rule plot_fig6:
    input:
        script=PLAN.script("plot_fig6"),
        modules=PLAN.modules("plot_fig6"),
        accuracy=PLAN.parts(BASE_LAYER, [*PLAN.queries_under(config["base"]["attack"]), *PLAN.aware]),
    output:
        csv=shown("<results>/fig6.csv"),
        pdf="<results>/fig6.pdf",
        png=shown("<results>/fig6.png"),
    log:
        "<logs>/plot_fig6.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=base_values("attack", "combination", "features", "neighbors", "space", "weighting")),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"
