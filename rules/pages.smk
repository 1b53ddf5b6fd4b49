"""The report's captions, written from the judged claims, and pages of HTML to read figures and tables on.

Needs: claims.csv, the figures and tables.
Makes: captions/{figure or table}.rst   for `snakemake --report`, which shows them beside the files marked `shown`
       {table}.html                     tables as pages of their own
       overview.html                    everything on one page, apart from Snakemake's report
"""

ABOUT = about_run(CONFIG)
# For report/workflow.rst, which sees nothing else.
config["report"] = report_words(CONFIG)
EVERYTHING = [
    *(f"<results>/{piece.name}.pdf" for piece in FIGURES),
    *(f"<results>/{piece.name}.md" for piece in TABLES),
    *(f"<results>/captions/{name}.rst" for name in PIECES),
    *(f"<results>/{kind}.csv" for kind in KINDS),
    "<results>/overview.html",
]


rule write_captions:
    input:
        claims="<results>/claims.csv",
    output:
        [f"<results>/captions/{name}.rst" for name in PIECES],
    log:
        "<logs>/write_captions.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        job=job("write_captions", about=ABOUT),
    shell:
        "python {params.job} --claims {input.claims:q} --output {output:q} --log {log:q}"


rule make_pages:
    input:
        claims="<results>/claims.csv",
        figures=[f"<results>/{piece.name}.{suffix}" for piece in FIGURES for suffix in ("png", "csv", "pdf")],
        tables=[f"<results>/{piece.name}.md" for piece in TABLES],
        # Marked here and not where they are made: the report shows a page and its numbers together, or neither.
        rows=[shown(piece, f"<results>/{piece.name}.csv") for piece in TABLES],
    output:
        tables=[shown(piece, f"<results>/{piece.name}.html") for piece in TABLES],
        # Not marked: browsers show no page of more than 2 MB within another.
        overview="<results>/overview.html",
    log:
        "<logs>/make_pages.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        job=job("make_pages", about=ABOUT),
    shell:
        "python {params.job} --claims {input.claims:q} --files {input.figures:q} {input.tables:q} {input.rows:q}"
        " --output {output.tables:q} {output.overview:q} --log {log:q}"
