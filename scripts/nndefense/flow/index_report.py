"""What the index report is of: indexes, query sets, and the file of each index's answers."""

from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import GRAY
from nndefense.config import Config
from nndefense.config.sections import MeasuredIndex
from nndefense.database.engines import EXACT
from nndefense.features.names import is_rmac
from nndefense.flow.encoders import layer_place
from nndefense.flow.queries import base_ball
from nndefense.flow.resources import BARE, CELL_ROWS, MB, rounded

EXACT_SEARCH = MeasuredIndex(factory=EXACT)


def measured_indexes(config: Config) -> list[MeasuredIndex]:
    """Indexes that are compared, the exact search first; none without a report, or where codes are bits."""
    if not config.index.report or is_rmac(config.base.features):
        return []
    return [EXACT_SEARCH, *(one for one in config.index.report if one != EXACT_SEARCH)]


def measured_packs(config: Config) -> list[Pack]:
    """What they are asked: clean images, and those of the base attack at the base budget in the gray box."""
    gray = Pack(base_ball(config), GRAY, config.base.attack, (config.base.epsilon,))
    return [CLEAN, *([gray] if str(GRAY) in config.attacks.settings else [])]


def measured_file(config: Config, one: MeasuredIndex) -> str:
    """Answers of an index, and what it costs."""
    place = f"{layer_place(config, config.base.features)}/{config.base.pool}"
    return f"<results>/index/{place}/report/{one.word}.npz"


def measuring_memory(config: Config) -> int:
    """MB of a measurement: all codes, an index of them, and that as bytes, twice while it is written."""
    rows = max(config.pools[config.base.pool].values)
    queries = len(measured_packs(config)) * (config.queries.count or 50_000)
    floats = (4 * rows + CELL_ROWS + queries) * config.features.components
    return rounded(BARE + (4 * floats + queries * config.base.neighbors * 40) / MB)
