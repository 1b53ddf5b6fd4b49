"""Figures and tables of the report, the paper's claims among them. What they are stands in nndefense.report.

Needs: result rows, predictions/, and what else a figure or table names as its source.
Makes: {figure}.{csv,pdf,png}
       {figure}_narrow.{csv,pdf,png}     for a column of a paper, where asked for; not in the report
       {table}.{csv,md,tex}     also claims, judged on this run's predictions, and rows_{evaluation kind}
"""

from nndefense.report.pages.about import about_run, report_words
from nndefense.report.pieces import Narrow, existing, labels, narrowed, piece_target

PIECES = {piece.name: piece for piece in existing(CONFIG)}
FIGURES = [piece for piece in PIECES.values() if piece.kind == "figure"]
TABLES = [piece for piece in PIECES.values() if piece.kind == "table"]


def shown(piece, path):
    """A file of a figure or table; the report shows it, unless it is for a column."""
    if isinstance(piece, Narrow):
        return path
    written = Path(RESULTS, "captions", f"{piece.name}.rst").absolute()
    return report(
        path,
        caption=str(written) if written.exists() else "../report/unjudged.rst",
        category=piece.category,
        labels=labels(piece, path.rpartition(".")[2], CONFIG),
    )


def piece_files(piece):
    """Inputs of a figure or table, in the order of their roles."""
    return [path for paths in piece.files(CONFIG).values() for path in paths]


def piece_job(program, piece):
    """Parameters of the job that makes a figure or table; it reads images of a pool where they are among its inputs."""
    files, values = piece.files(CONFIG), piece.params(CONFIG)
    return job(
        program,
        piece_target(piece.name),
        *(pool_targets(CONFIG.base.pool) if "sets" in files else []),
        *([values["measured"]] if "measured" in values else []),
        params=values,
        piece=piece.name,
        roles=[role for role, paths in files.items() for _ in paths],
    )


for piece in [*FIGURES, *map(narrowed, FIGURES)]:

    rule:
        name:
            f"plot_{piece.word}"
        input:
            piece_files(piece),
        output:
            csv=shown(piece, f"<results>/{piece.name}.csv"),
            pdf=f"<results>/{piece.name}.pdf",
            png=shown(piece, f"<results>/{piece.name}.png"),
        log:
            f"<logs>/plot_figure/{piece.name}.log",
        conda:
            ENVIRONMENT
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            job=piece_job("plot_figure", piece),
        shell:
            "python {params.job} --files {input:q} --csv {output.csv:q} --pdf {output.pdf:q} --png {output.png:q} --log {log:q}"


for piece in TABLES:

    rule:
        name:
            f"make_{piece.word}"
        input:
            piece_files(piece),
        output:
            csv=f"<results>/{piece.name}.csv",
            md=f"<results>/{piece.name}.md",
            tex=f"<results>/{piece.name}.tex",
        log:
            f"<logs>/make_table/{piece.name}.log",
        conda:
            ENVIRONMENT
        resources:
            mem_mb=4000,
            runtime=120,
        params:
            job=piece_job("make_table", piece),
        shell:
            "python {params.job} --files {input:q} --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q} --log {log:q}"
