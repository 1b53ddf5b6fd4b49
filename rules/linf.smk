"""Networks compared under attacks with an l-infinity budget: Table 1 of the RA-CNN abstract (Zhao, Li & Cho 2018).

Needs: attacks/clean.npz, models/ of the compared networks.
Makes: linf/{network}/{attack}/eps-{epsilon}.npz   adversarial images and the largest change of a pixel
       linf/{network}/predictions.npz              classes of the clean images, its own and the baseline's adversarials
       linf/{network}/accuracy.csv
       table1_racnn.{csv,md,tex}, claims_racnn.csv, fig_racnn.{csv,pdf,png}
"""


rule make_linf_set:
    input:
        script=PLAN.script("make_linf_set"),
        modules=lambda wildcards: PLAN.modules("make_linf_set", *PLAN.network_modules(wildcards.network)),
        clean="<results>/attacks/clean.npz",
        model="<results>/models/{network}/model.json",
        weights="<results>/models/{network}/weights.safetensors",
    output:
        # Large: temporary, unless the configuration keeps them.
        [path if PLAN.linf.keep else temp(path) for path in PLAN.linf.sets("{network}", "{attack}")],
    log:
        "<logs>/make_linf_set/{network}/{attack}.log",
    benchmark:
        "<benchmarks>/make_linf_set/{network}/{attack}.tsv"
    wildcard_constraints:
        network=one_of(PLAN.linf.networks),
        attack=r"fgsm|ifgsm",
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=1440,
    params:
        settings=lambda wildcards: Settings(
            attack=wildcards.attack,
            batch=config["attacks"]["batch"],
            epsilons=PLAN.linf.epsilons,
            steps=PLAN.linf.steps(wildcards.attack),
        ),
    shell:
        "python {input.script} {params.settings} --clean {input.clean} --model {input.model} --outputs {output}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"


rule evaluate_linf:
    input:
        script=PLAN.script("evaluate_linf"),
        modules=lambda wildcards: PLAN.modules("evaluate_linf", *PLAN.network_modules(wildcards.network)),
        clean="<results>/attacks/clean.npz",
        model="<results>/models/{network}/model.json",
        weights="<results>/models/{network}/weights.safetensors",
        own=PLAN.linf.sets("{network}"),
        transfer=PLAN.linf.sets(PLAN.linf.baseline),
    output:
        predictions=ensure("<results>/linf/{network}/predictions.npz", non_empty=True),
        accuracy=ensure("<results>/linf/{network}/accuracy.csv", non_empty=True),
    log:
        "<logs>/evaluate_linf/{network}.log",
    wildcard_constraints:
        network=one_of(PLAN.linf.networks),
    conda:
        ENVIRONMENT
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=240,
    params:
        settings=lambda wildcards: Settings(
            batch=config["features"]["batch"],
            dataset=config["dataset"],
            names=PLAN.linf.names(),
            network=wildcards.network,
            seed=config["seed"],
        ),
    shell:
        "python {input.script} {params.settings} --clean {input.clean} --model {input.model} --own {input.own}"
        " --transfer {input.transfer} --predictions {output.predictions} --accuracy {output.accuracy}"
        " --threads {threads} --gpus {resources.gpu} --log {log}"


rule make_table1_racnn:
    input:
        script=PLAN.script("make_table1_racnn"),
        modules=PLAN.modules("make_table1_racnn"),
        accuracy=PLAN.linf.parts("accuracy.csv"),
        predictions=PLAN.linf.parts("predictions.npz"),
        paper=PLAN.library_file("report/paper_tables.csv"),
    output:
        csv="<results>/table1_racnn.csv",
        md="<results>/table1_racnn.md",
        tex="<results>/table1_racnn.tex",
        claims="<results>/claims_racnn.csv",
    log:
        "<logs>/make_table1_racnn.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=Settings(
            base={"baseline": PLAN.linf.baseline, "resamples": 4000, "steps": PLAN.linf.steps("ifgsm")},
            seed=config["seed"],
        ),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy} --predictions {input.predictions}"
        " --csv {output.csv} --md {output.md} --tex {output.tex} --claims {output.claims} --log {log}"


rule plot_fig_racnn:
    input:
        script=PLAN.script("plot_fig_racnn"),
        modules=PLAN.modules("plot_fig_racnn"),
        accuracy=PLAN.linf.parts("accuracy.csv"),
    output:
        csv="<results>/fig_racnn.csv",
        pdf="<results>/fig_racnn.pdf",
        png="<results>/fig_racnn.png",
    log:
        "<logs>/plot_fig_racnn.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(base={"attack": "fgsm and ifgsm", "baseline": PLAN.linf.baseline}),
    shell:
        "python {input.script} {params.settings} --accuracy {input.accuracy}"
        " --csv {output.csv} --pdf {output.pdf} --png {output.png} --log {log}"
