"""Features: one forward pass an image gives several layers and the softmax row.

Needs: pools/, models/, attacks/ (query sets); pca/ where features do not go to the disk.
Makes: features/{model}/{layer}/{pool}/{shard}.npy        pooled activations (fp16) of a database shard
       codes/{model}/{layer}/{pool}/{shard}.npy           of the other shards their codes at once
       skipped/{model}/{layer}/{pool}/{shard}.npy         rows that have none: unreadable images
       softmax/{model}/{pool}/{shard}.npy                 softmax rows of a shard (.weights.npy: their confidence,
                                                          .checks.npy: sums that a row is verified by when it is read;
                                                          .pixels.npy: sums of the images' pixels, to find copies)
       features/{model}/{layer}/queries/{pack}.npy        features of a pack of query sets, set after set
       softmax/{model}/queries/{pack}.npy                 softmax rows of a pack

A pass is an entry of `features.layers`; the first of the target's gives the softmax rows, too. So a layer that is added
as an entry of its own costs a pass of its own and leaves all files that exist alone, without anything but the
configuration to say so. {model} is the network that a layer is of; that of softmax rows is the target.
"""

for number, layers in enumerate(PASSES):

    rule:
        name:
            f"extract_features{pass_word(number)}"
        input:
            **shard_inputs(),
        output:
            features=[kept(f"<results>/features/{{model}}/{layer}/{{pool}}/{{shard}}.npy") for layer in layers],
            skipped=[f"<results>/skipped/{{model}}/{layer}/{{pool}}/{{shard}}.npy" for layer in layers],
            store=store_files("{model}/{pool}/{shard}", "checks", "pixels") if number == 0 else [],
        log:
            f"<logs>/extract_features{pass_word(number)}/{{model}}/{{pool}}/{{shard}}.log",
        benchmark:
            f"<benchmarks>/extract_features{pass_word(number)}/{{model}}/{{pool}}/{{shard}}.tsv"
        wildcard_constraints:
            model=pass_encoder(CONFIG, number),
            shard=one_of(KEPT_SHARDS),
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            gpu=CONFIG.gpu,
            mem_mb=CONFIG.memory_mb,
            runtime=1440,
        params:
            job=extract_shard(layers),
        shell:
            "python {params.job} --model {input.model:q} --images {input.images:q} --sets {input.sets:q}"
            " --features {output.features:q} --skipped {output.skipped:q} --store {output.store:q}"
            " --threads {threads} --gpus {resources.gpu} --log {log:q}"

    for batch in SEARCHED:

        rule:
            name:
                f"extract_queries{pass_word(number)}_{batch.word}"
            input:
                model="<results>/models/{model}/model.json",
                weights="<results>/models/{model}/weights.safetensors",
                images=[attack_file(pack) for pack in batch.packs],
            output:
                features=[
                    f"<results>/features/{{model}}/{layer}/queries/{pack}.npy"
                    for pack in batch.packs
                    for layer in layers
                ],
                store=[
                    path
                    for pack in (batch.packs if number == 0 else [])
                    for path in store_files(f"{{model}}/queries/{pack}")
                ],
            log:
                f"<logs>/extract_queries{pass_word(number)}/{{model}}/{batch.word}.log",
            benchmark:
                f"<benchmarks>/extract_queries{pass_word(number)}/{{model}}/{batch.word}.tsv"
            wildcard_constraints:
                model=pass_encoder(CONFIG, number),
            conda:
                ENVIRONMENT
            threads: CONFIG.threads
            resources:
                gpu=CONFIG.gpu,
                mem_mb=CONFIG.memory_mb,
                runtime=1440,
            params:
                job=extract_packs(layers, batch),
            shell:
                "python {params.job} --model {input.model:q} --images {input.images:q} --features {output.features:q}"
                " --store {output.store:q} --threads {threads} --gpus {resources.gpu} --log {log:q}"


for number, pool, layers in POOL_PASSES:

    rule:
        name:
            f"extract_codes{pass_word(number)}_{pool}"
        input:
            **shard_inputs(pool),
            pca=[f"<results>/pca/{{model}}/{layer}/{pool}.npz" for layer in layers],
        output:
            codes=[f"<results>/codes/{{model}}/{layer}/{pool}/{{shard}}.npy" for layer in layers],
            skipped=[f"<results>/skipped/{{model}}/{layer}/{pool}/{{shard}}.npy" for layer in layers],
            store=store_files(f"{{model}}/{pool}/{{shard}}", "checks", "pixels") if number == 0 else [],
        log:
            f"<logs>/extract_codes{pass_word(number)}/{{model}}/{pool}/{{shard}}.log",
        benchmark:
            f"<benchmarks>/extract_codes{pass_word(number)}/{{model}}/{pool}/{{shard}}.tsv"
        wildcard_constraints:
            model=pass_encoder(CONFIG, number),
            shard=one_of(CODED_SHARDS),
        conda:
            ENVIRONMENT
        threads: CONFIG.threads
        resources:
            gpu=CONFIG.gpu,
            mem_mb=CONFIG.memory_mb,
            runtime=1440,
        params:
            job=extract_shard(layers, pool, type=CONFIG.index.codes),
        shell:
            "python {params.job} --model {input.model:q} --images {input.images:q} --sets {input.sets:q}"
            " --pca {input.pca:q} --features {output.codes:q} --skipped {output.skipped:q} --store {output.store:q}"
            " --threads {threads} --gpus {resources.gpu} --log {log:q}"
