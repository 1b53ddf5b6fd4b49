"""The report: captions of all figures and tables, written from the judged claims, and pages of HTML to read them on.

Needs: claims.csv, the figures and tables.
Makes: captions/{figure or table}.rst   for `snakemake --report`, which shows them beside the files marked `shown`
       {table1 … table4, claims}.html   tables as pages of their own
       overview.html                    everything on one page, apart from Snakemake's report
"""


rule write_captions:
    input:
        script=PLAN.script("write_captions"),
        modules=PLAN.modules("write_captions"),
        claims="<results>/claims.csv",
    output:
        [f"<results>/captions/{name}.rst" for name in PLAN.report.shown()],
    log:
        "<logs>/write_captions.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(config=PLAN.report.captioned_config()),
    shell:
        "python {input.script} {params.settings} --claims {input.claims} --output {output} --log {log}"


rule make_pages:
    input:
        script=PLAN.script("make_pages"),
        modules=PLAN.modules("make_pages"),
        claims="<results>/claims.csv",
        figures=PLAN.report.files("png", "csv", "pdf", tables=False),
        tables=PLAN.report.files("md", tables=True),
        # Marked here and not where they are made: the report shows a page and its numbers together, or neither.
        rows=[shown(path) for path in PLAN.report.files("csv", tables=True)],
    output:
        tables=[shown(f"<results>/{name}.html") for name in PLAN.report.tables],
        claims=shown("<results>/claims.html"),
        # Not marked: browsers show no page of more than 2 MB within another.
        overview="<results>/overview.html",
    log:
        "<logs>/make_pages.log",
    conda:
        ENVIRONMENT
    params:
        settings=Settings(config=PLAN.report.captioned_config()),
    shell:
        "python {input.script} {params.settings} --claims {input.claims} --files {input.figures} {input.tables} {input.rows}"
        " --output {output} --log {log}"
