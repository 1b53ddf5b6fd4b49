"""The state of a training in a file, for a job that is stopped and started again."""

from pathlib import Path

from nndefense.core.arrays import read_sealed, write_sealed
from nndefense.core.errors import FileFault
from nndefense.core.whose import aside
from nndefense.models.training_state import TrainingState, pack_state, unpack_state


def write_state(path: str | Path, state: TrainingState, fingerprint: str) -> None:
    """Write the state atomically. fingerprint: of what decides the weights, `training_state.fingerprint`."""
    with aside():
        write_sealed(path, pack_state(state), {"fingerprint": fingerprint})


def read_state(path: str | Path, fingerprint: str) -> tuple[TrainingState | None, str]:
    """The state, and a sentence about it; no state where the file is absent, damaged, or of other settings or data."""
    path = Path(path)
    if not path.exists():
        return None, "starts with epoch 1"
    try:
        with aside():
            content, about = read_sealed(path)
        if about.get("fingerprint") != fingerprint:
            return None, f"starts with epoch 1: {path.name} is of other settings, data or software"
        state = unpack_state(content)
    except FileFault as error:
        return None, f"starts with epoch 1: {path.name} is left out ({error})"
    return state, f"goes on after epoch {state.epoch}: {path.name}"
