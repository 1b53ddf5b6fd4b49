# Nearest-neighbour defences against adversarial images: images -> features -> database -> votes -> figures.
# A reviewer's figure:  snakemake results/fig5.pdf --cores 8 --resources gpu=4
from snakemake.utils import min_version

min_version("9.14")

# A configuration that names its `dataset` stands alone (the presets in config/); any other extends config.yaml.
if "dataset" not in config:

    configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"


report: "report/workflow.rst"


pathvars:
    results=PLAN.results,
    logs=f"{PLAN.results}/logs",
    benchmarks=f"{PLAN.results}/benchmarks",


include: "rules/images.smk"
include: "rules/models.smk"
include: "rules/racnn.smk"
include: "rules/features.smk"
include: "rules/database.smk"
include: "rules/attacks.smk"
include: "rules/retrieval.smk"
include: "rules/defenses.smk"
include: "rules/figures.smk"
include: "rules/appendix.smk"
include: "rules/tables.smk"
include: "rules/claims.smk"
include: "rules/report.smk"


if config["linf"]:

    include: "rules/linf.smk"


rule all:
    default_target: True
    input:
        PLAN.report.targets(),
        PLAN.report.pages(),


onstart:
    note_first_pass()
    rest_between_jobs()
