"""Figures of the paper's appendix: figures 3, 5 and 4 again, under FGSM and CW-L2.

Needs: accuracy/ of the rows a figure shows.
Makes: fig7 … fig12.{csv,pdf,png}
"""


use rule plot_fig3 as plot_fig7 with:
    input:
        script=PLAN.script("plot_fig3"),
        modules=PLAN.modules("plot_fig3"),
        accuracy=PLAN.parts(BASE_LAYER, PLAN.queries_under("fgsm")),
    output:
        csv=shown("<results>/fig7.csv"),
        pdf="<results>/fig7.pdf",
        png=shown("<results>/fig7.png"),
    log:
        "<logs>/plot_fig7.log",
    params:
        settings=Settings(
            base=base_values("attack", "combination", "features", "space", "weighting") | {"attack": "fgsm"}
        ),


use rule plot_fig3 as plot_fig8 with:
    input:
        script=PLAN.script("plot_fig3"),
        modules=PLAN.modules("plot_fig3"),
        accuracy=PLAN.parts(BASE_LAYER, PLAN.queries_under("cw")),
    output:
        csv=shown("<results>/fig8.csv"),
        pdf="<results>/fig8.pdf",
        png=shown("<results>/fig8.png"),
    log:
        "<logs>/plot_fig8.log",
    params:
        settings=Settings(
            base=base_values("attack", "combination", "features", "space", "weighting") | {"attack": "cw"}
        ),


use rule plot_fig5 as plot_fig9 with:
    input:
        script=PLAN.script("plot_fig5"),
        modules=PLAN.modules("plot_fig5"),
        accuracy=PLAN.parts(BASE_LAYER, PLAN.queries_under("fgsm")),
    output:
        csv=shown("<results>/fig9.csv"),
        pdf="<results>/fig9.pdf",
        png=shown("<results>/fig9.png"),
    log:
        "<logs>/plot_fig9.log",
    params:
        settings=Settings(
            base=base_values("attack", "combination", "features", "neighbors", "space", "weighting")
            | {"attack": "fgsm"}
        ),


use rule plot_fig5 as plot_fig10 with:
    input:
        script=PLAN.script("plot_fig5"),
        modules=PLAN.modules("plot_fig5"),
        accuracy=PLAN.parts(BASE_LAYER, PLAN.queries_under("cw")),
    output:
        csv=shown("<results>/fig10.csv"),
        pdf="<results>/fig10.pdf",
        png=shown("<results>/fig10.png"),
    log:
        "<logs>/plot_fig10.log",
    params:
        settings=Settings(
            base=base_values("attack", "combination", "features", "neighbors", "space", "weighting") | {"attack": "cw"}
        ),


use rule plot_fig4 as plot_fig11 with:
    input:
        script=PLAN.script("plot_fig4"),
        modules=PLAN.modules("plot_fig4"),
        accuracy=PLAN.parts(PLAN.plain_layers, PLAN.queries_under("fgsm")),
    output:
        csv=shown("<results>/fig11.csv"),
        pdf="<results>/fig11.pdf",
        png=shown("<results>/fig11.png"),
    log:
        "<logs>/plot_fig11.log",
    params:
        settings=Settings(
            base=base_values("attack", "combination", "neighbors", "space", "weighting") | {"attack": "fgsm"}
        ),


use rule plot_fig4 as plot_fig12 with:
    input:
        script=PLAN.script("plot_fig4"),
        modules=PLAN.modules("plot_fig4"),
        accuracy=PLAN.parts(PLAN.plain_layers, PLAN.queries_under("cw")),
    output:
        csv=shown("<results>/fig12.csv"),
        pdf="<results>/fig12.pdf",
        png=shown("<results>/fig12.png"),
    log:
        "<logs>/plot_fig12.log",
    params:
        settings=Settings(
            base=base_values("attack", "combination", "neighbors", "space", "weighting") | {"attack": "cw"}
        ),
