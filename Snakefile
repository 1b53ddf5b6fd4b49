# Nearest-neighbour defences against adversarial images: images -> features -> database -> votes -> figures.
# A reviewer's figure:  snakemake results/fig5.pdf --cores 8 --resources gpu=4
from snakemake.utils import min_version

min_version("9.19")

# A configuration that names its `dataset` stands alone (the presets in config/); any other extends config.yaml.
if "dataset" not in config:

    configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"
include: "rules/one_run.smk"
include: "rules/cluster.smk"
include: "rules/inputs.smk"
include: "rules/jobs.smk"
include: "rules/attack_jobs.smk"
include: "rules/image_jobs.smk"
include: "rules/database_jobs.smk"
include: "rules/retrieval_jobs.smk"
include: "rules/dictionary_jobs.smk"


report: "report/workflow.rst"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


include: "rules/images.smk"
include: "rules/training.smk"
include: "rules/models.smk"
include: "rules/features.smk"
include: "rules/codes.smk"
include: "rules/copies.smk"
include: "rules/database.smk"
include: "rules/attacks.smk"
include: "rules/votes.smk"
include: "rules/certificates.smk"
include: "rules/index_report.smk"
include: "rules/defenses.smk"
include: "rules/dictionaries.smk"
include: "rules/tuning.smk"
include: "rules/retrieval.smk"
include: "rules/evaluation.smk"
include: "rules/worst.smk"
include: "rules/report.smk"
include: "rules/pages.smk"
include: "rules/deployment.smk"


rule all:
    default_target: True
    input:
        EVERYTHING,


onstart:
    rest_between_jobs()
