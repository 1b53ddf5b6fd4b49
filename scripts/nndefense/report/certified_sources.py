"""What a configuration gives figures and tables of certificates: functions as those in `sources`.

They are named by pieces, not imported: no job depends on the code here.
"""

from nndefense.certificates import CERTIFICATES
from nndefense.certificates.poisoning import POISONING
from nndefense.config import Config
from nndefense.flow.retrieval import checked_files, guards, row_files
from nndefense.report.piece import Inputs, Piece


def poisoning(config: Config, piece: Piece) -> Inputs | None:
    """Votes by the base layer, of several K or sizes, against insertions into the database."""
    sizes = config.pools[config.base.pool].values
    if len(config.votes.neighbors) == len(sizes) == 1:
        return None
    files = [f"<results>/certificates/{POISONING}/{config.target}/{config.base.features}/clean.npz"]
    facts = {"dataset": config.dataset, "seed": config.seed, "model": config.target}
    return Inputs({"certificates": files}, {"facts": facts})


def retrieval(config: Config, piece: Piece) -> Inputs | None:
    """Rows of every certified retrieval, where there is one."""
    section = config.retrieval
    if section is None:
        return None
    values = {
        "alpha": section.alpha,
        # A list, too: mappings come sorted to the job.
        "certificates": [name for name in CERTIFICATES if name in section.certificates],
        "certificate_labels": {name: CERTIFICATES[name].label for name in section.certificates},
        "embedding_labels": {name: one.label or name for name, one in section.embeddings.items()},
        "radii": section.radii,
    }
    return Inputs({"rows": row_files(config)}, values)


def judged_retrieval(config: Config) -> Inputs:
    """What claims about certified retrieval are judged on; nothing without one."""
    section, every = config.retrieval, guards(config)
    of_mean = [name for name in section.certificates if name != "vote"] if section else []
    if not of_mean:
        return Inputs({})
    files = {
        "answers": [one.file("answers.npz") for one in every],
        "certificates": [one.file(f"{of_mean[-1]}.npz") for one in every],
        "checked": checked_files(config),
    }
    values = {
        "checked": list(map(str, every)) if files["checked"] else [],
        "families": [[f"{one.task}/{one.embedding}", one.sigma] for one in every],
    }
    return Inputs({role: paths for role, paths in files.items() if paths}, values)
