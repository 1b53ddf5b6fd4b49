"""The worst case of every defence: attacks one after the other, each on the images that have held.

Needs: attacks/ (everything that the defence is tried on), models/, and what attacks and defence need.
Makes: attacks/{ball}/adaptive-{defense}/worst/eps-{budgets}.npz    of each image the one that came furthest, and by whom
       attacks/{ball}/adaptive-{defense}/worst/eps-{budgets}.json   what each attack did
       {summary}/{model}/{layer or defense}.csv                     rows over all query sets, e.g. accuracy_worst
       {summary}.csv                                                all of them
"""


rule attack_defense:
    input:
        clean="<results>/attacks/clean.npz",
        attacker=lambda wildcards: attacker(wildcards, "model.json"),
        weights=lambda wildcards: attacker(wildcards, "weights.safetensors"),
        target=f"<results>/models/{TARGET}/model.json",
        needs=lambda wildcards: attack_needs(CONFIG, worst_pack(wildcards)).files,
        stored=lambda wildcards: [f"<results>/attacks/{pack}.npz" for pack in stored_packs(wildcards)],
    output:
        images=ensure("<results>/attacks/{ball}/{threat}/worst/eps-{budgets}.npz", non_empty=True),
        report="<results>/attacks/{ball}/{threat}/worst/eps-{budgets}.json",
    log:
        "<logs>/attack_defense/{ball}/{threat}/eps-{budgets}.log",
    benchmark:
        "<benchmarks>/attack_defense/{ball}/{threat}/eps-{budgets}.tsv"
    wildcard_constraints:
        budgets=r"[0-9.e,-]+",
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=1440,
    params:
        job=worst_job,
    shell:
        "python {params.job} --clean {input.clean:q} --attacker {input.attacker:q} --target {input.target:q}"
        " --files {input.needs:q} --stored {input.stored:q} --output {output.images:q} --report {output.report:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule summarize_rows:
    input:
        predictions=lambda wildcards: system_answers(CONFIG, wildcards.system),
    output:
        ensure("<results>/{summary}/{model}/{system}.csv", non_empty=True),
    log:
        "<logs>/summarize_rows/{summary}/{model}/{system}.log",
    wildcard_constraints:
        system=one_of([NO_DEFENSE, *CONFIG.defenses, *CONFIG.features.names]),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        job=lambda wildcards: job(
            "summarize_rows",
            SUMMARIES[wildcards.summary].target,
            dataset=CONFIG.dataset,
            model=wildcards.model,
            root=f"{RESULTS}/predictions/{wildcards.model}",
            seed=CONFIG.seed,
            target=SUMMARIES[wildcards.summary].target,
        ),
    shell:
        "python {params.job} --predictions {input.predictions:q} --output {output:q} --log {log:q}"


use rule collect_rows as collect_summary with:
    input:
        parts=lambda wildcards: summary_files(CONFIG, wildcards.summary),
    output:
        ensure("<results>/{summary}.csv", non_empty=True),
    log:
        "<logs>/collect_summary/{summary}.log",
    params:
        job=lambda wildcards: job(
            "collect_rows", SUMMARIES[wildcards.summary].target, target=SUMMARIES[wildcards.summary].target
        ),
