"""Copies of test images in a database, which are left out of it where the configuration asks for that.

Needs: skipped/, softmax/ (sums of pixels) and codes/ of the shards, attacks/clean.npz, features/ of the clean set, pca/.
Makes: left_out/{model}/{layer}/{pool}/{shard}.npy   rows that are not searched: without a code, or a test image
"""


rule leave_out_copies:
    input:
        **near_inputs(),
        skipped="<results>/skipped/{model}/{layer}/{pool}/{shard}.npy",
        pixels=f"<results>/softmax/{TARGET}/{{pool}}/{{shard}}.pixels.npy",
        clean="<results>/attacks/clean.npz",
    output:
        "<results>/left_out/{model}/{layer}/{pool}/{shard}.npy",
    log:
        "<logs>/leave_out_copies/{model}/{layer}/{pool}/{shard}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        job=job("leave_out_copies"),
    shell:
        "python {params.job} --skipped {input.skipped:q} --pixels {input.pixels:q} --clean {input.clean:q}"
        + "".join(f" --{name} {{input.{name}:q}}" for name in near_inputs())
        + " --output {output:q} --log {log:q}"
