"""Attacks on a smoothed retrieval: at every radius, and on every certified answer.

Needs: models/, retrievalguard/ (tasks, transforms, galleries, certificates).
Makes: retrievalguard/{task}/{embedding}/sigma-{sigma}/attacked.npz   answers under attack
       retrievalguard/{task}/{embedding}/sigma-{sigma}/checked.npz    certified answers, attacked within their radii
"""


rule attack_retrieval:
    input:
        **asked_of_network(),
        gallery=f"{GUARD}/gallery.npz",
    output:
        ensure(f"{GUARD}/attacked.npz", non_empty=True),
    log:
        "<logs>/attack_retrieval/{task}/{embedding}/sigma-{sigma}.log",
    benchmark:
        "<benchmarks>/attack_retrieval/{task}/{embedding}/sigma-{sigma}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=1440,
    params:
        job=lambda wildcards: breaking_job("attack_retrieval", wildcards),
    shell:
        "python {params.job} --task {input.task:q} --model {input.model:q} --transform {input.transform:q}"
        " --gallery {input.gallery:q} --file {output:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"


rule check_certificates:
    input:
        **asked_of_network(),
        certificates=every_certificate,
        gallery=f"{GUARD}/gallery.npz",
    output:
        ensure(f"{GUARD}/checked.npz", non_empty=True),
    log:
        "<logs>/check_certificates/{task}/{embedding}/sigma-{sigma}.log",
    benchmark:
        "<benchmarks>/check_certificates/{task}/{embedding}/sigma-{sigma}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.threads
    resources:
        gpu=CONFIG.gpu,
        mem_mb=CONFIG.memory_mb,
        runtime=1440,
    params:
        job=lambda wildcards: breaking_job("check_certificates", wildcards),
    shell:
        "python {params.job} --task {input.task:q} --model {input.model:q} --transform {input.transform:q}"
        " --gallery {input.gallery:q} --certificates {input.certificates:q} --file {output:q}"
        " --threads {threads} --gpus {resources.gpu} --log {log:q}"
