"""What a configuration gives the index report: a function as those in `sources`.

It is named by pieces, not imported: no job depends on the code here.
"""

from nndefense.config import Config
from nndefense.flow.index_report import measured_file, measured_indexes, measured_packs
from nndefense.report.piece import Inputs, Piece, run_facts


def indexes(config: Config, piece: Piece) -> Inputs | None:
    """Answers of every index that is compared, the exact search first."""
    found = measured_indexes(config)
    if not found:
        return None
    values = {
        "facts": run_facts(config) | {"model": config.target},
        "indexes": [one.label for one in found],
        "queries": [str(pack) for pack in measured_packs(config)],
        "size": max(config.pools[config.base.pool].values),
    }
    return Inputs({"measured": [measured_file(config, one) for one in found]}, values)
