"""Tables, each as Markdown and LaTeX beside its CSV; the paper's own numbers stand in them, marked as such.

Needs: accuracy/, models/*/clean_accuracy.json.
Makes: table1 … table4.{csv,md,tex}, layer_sizes.json (measured sizes of feature maps, for table 3)
"""


rule make_table1:
    input:
        script=PLAN.script("make_table1"),
        modules=PLAN.modules("make_table1"),
        accuracy=PLAN.parts(TABLE_LAYERS, PLAN.queries_under(config["base"]["attack"])),
        clean=[f"<results>/models/{model}/clean_accuracy.json" for model in PLAN.models()],
        paper=PLAN.library_file("report/paper_tables.csv"),
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


rule make_table2:
    input:
        script=PLAN.script("make_table2"),
        modules=PLAN.modules("make_table2"),
        accuracy=[
            *PLAN.parts(TABLE_LAYERS, PLAN.base_queries()),
            *PLAN.defended_parts("accuracy"),
        ],
        paper=PLAN.library_file("report/paper_tables.csv"),
    output:
        csv="<results>/table2.csv",
        md="<results>/table2.md",
        tex="<results>/table2.tex",
    log:
        "<logs>/make_table2.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base=config["base"]),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --log {log}"


rule measure_layers:
    input:
        script=PLAN.script("measure_layers"),
        modules=PLAN.modules("measure_layers", "nndefense.models.torchvision_nets"),
        model=f"<results>/models/{TARGET}/model.json",
        weights=f"<results>/models/{TARGET}/weights.safetensors",
        clean="<results>/attacks/clean.npz",
        pca=[f"<results>/pca/{TARGET}/{layer}/{MAIN_POOL}.npz" for layer in PLAN.plain_layers],
    output:
        ensure("<results>/layer_sizes.json", non_empty=True),
    log:
        "<logs>/measure_layers.log",
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        settings=Settings(layers=PLAN.plain_layers, pooled=pooled(PLAN.plain_layers)),
    shell:
        "python {input.script} {params.settings} --model {input.model} --queries {input.clean} --pca {input.pca}"
        " --output {output} --threads {threads} --gpus {resources.gpu} --log {log}"


rule make_table3:
    input:
        script=PLAN.script("make_table3"),
        modules=PLAN.modules("make_table3"),
        sizes="<results>/layer_sizes.json",
        paper=PLAN.library_file("report/paper_tables.csv"),
    output:
        csv="<results>/table3.csv",
        md="<results>/table3.md",
        tex="<results>/table3.tex",
    log:
        "<logs>/make_table3.log",
    conda:
        ENVIRONMENT
    shell:
        "python {input.script} --sizes {input.sizes}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --log {log}"


use rule make_table2 as make_table4 with:
    input:
        script=PLAN.script("make_table4"),
        modules=PLAN.modules("make_table4"),
        accuracy=PLAN.parts(TABLE_LAYERS, PLAN.queries_under(config["base"]["attack"])),
        paper=PLAN.library_file("report/paper_tables.csv"),
    output:
        csv="<results>/table4.csv",
        md="<results>/table4.md",
        tex="<results>/table4.tex",
    log:
        "<logs>/make_table4.log",
    params:
        settings=Settings(base=base_values("attack", "epsilon", "features", "neighbors", "space")),
