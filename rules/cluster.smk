"""What is special about clusters. On one machine it changes nothing.

Jobs of seconds, which take longer to queue than to run, run where Snakemake runs; profiles say how many cores they get
there (`local-cores`).
"""

from nndefense.report.pieces import existing

LIGHT = [
    "collect_rows",
    "collect_summary",
    "describe_attacker",
    "describe_defense",
    "describe_retrieval",
    "describe_system",
    "draw_sheet",
    "make_pages",
    "summarize_rows",
    "write_captions",
    *(f"{'plot' if piece.kind == 'figure' else 'make'}_{piece.word}" for piece in existing(CONFIG)),
]

workflow.localrules(*map(workflow.modifier.modify_rulename, LIGHT))


if workflow.storage_settings.default_storage_provider:

    def ensure(path, **_):
        """The path itself: Snakemake 9.27 would look for the file's size in the storage before it puts the file there.

        A job that wrote less than all of a file has failed anyway: files get their final name when they are whole.
        """
        return path
