"""Result rows of a run as a pandas DataFrame, for whoever has questions that no table answers.

pandas is imported where it is used: what Snakemake parses, and every job, does without.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from nndefense.core.errors import FileFault, InputError
from nndefense.core.files import file_sha256, read_json
from nndefense.core.seals import RECEIPTS, fault
from nndefense.evaluation import KINDS, SUMMARIES
from nndefense.evaluation.rows import AXES, INTEGERS, read_rows

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SHOWN = 12  # values of a column that a message lists


def read_frame(place: str | Path = "results", kind: str = "accuracy", **equal: Any) -> "DataFrame":
    """Result rows of a finished run, in the order of their file.

    Names are categories in the order of their first appearance, `none` among them; counts are int64, other numbers
    float64. A measured column that is empty, or NaN, in some rows is missing there. `attrs` of the frame say where the
    rows are from: `run` (the folder), `kind`, `file`, and `sha256` of the file.

    Args:
        place: the folder of results.
        kind: an evaluation kind or a summary (`KINDS` and `SUMMARIES` of `nndefense.evaluation`).
        equal: column=value keeps the rows that have this value, column=[value, …] those that have one of these.

    Returns:
        The columns of `nndefense.evaluation.rows.AXES`, then those of the kind; a range as index.

    Raises:
        InputError: an unknown kind or column, or values that no row has.
        FileFault: the file is not there (says what makes it), is damaged, or was made of others than are there now. A
            copy outside of a run, without `seals/` beside it, is read as it is.
    """
    known = {**KINDS, **SUMMARIES}
    if kind not in known:
        raise InputError(f"rows: kind {kind!r} is unknown; allowed: {', '.join(known)}")
    path = Path(place, f"{kind}.csv")
    if not path.is_file():
        raise FileFault(f"{path}: is not there; to make it: snakemake {quote(str(path))} --cores all")
    digest, measured = _checked(path), known[kind].load()
    frame = _select(frame_of(read_rows(path, measured), (*AXES, *measured.columns)), equal)
    frame.attrs = {"run": str(place), "kind": kind, "file": str(path), "sha256": digest}
    return frame


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> "DataFrame":
    """Result rows as `read_rows` gives them, typed as `read_frame` says.

    Args:
        rows: of one kind.
        columns: all that they have, in their order.
    """
    from pandas import DataFrame

    return DataFrame({name: _typed(name, [row[name] for row in rows]) for name in columns})


def _typed(name: str, values: Sequence[Any]) -> "Series":
    from pandas import Categorical, Series

    found = [None if value == "" else value for value in values]
    is_name = name in AXES and name not in (*INTEGERS, "epsilon")
    if is_name or any(isinstance(value, str) for value in found):
        there = dict.fromkeys(value for value in found if value is not None)
        return Series(Categorical(found, categories=list(there)))
    if found and all(isinstance(value, int) for value in found):
        return Series(found)  # int64, but for a seed that does not fit
    return Series(found, dtype="int64" if name in INTEGERS else "float64")


def _checked(path: Path) -> str:
    """SHA-256 of a file that lies in a folder of results, as its receipt there records it."""
    digest = file_sha256(path)
    receipt = path.parent / RECEIPTS / f"{path.name}.json"
    if receipt.parent.is_dir() and read_json(receipt).get("sha256") != digest:
        raise fault(path, f"has another checksum than {receipt} records")
    return digest


def _select(frame: "DataFrame", equal: Mapping[str, Any]) -> "DataFrame":
    """Rows with given values, numbered anew, without categories that they do not have."""
    if not equal:
        return frame
    kept = frame
    for column, wanted in equal.items():
        if column not in frame:
            raise InputError(f"rows: {column!r} is no column; allowed: {', '.join(frame)}")
        values = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, str) else [wanted]
        if len(frame) and not frame[column].isin(values).any():
            raise InputError(f"rows: no {column} is {_listed(values)}; allowed: {_listed(frame[column].unique())}")
        kept = kept[kept[column].isin(values)]
    kept = kept.reset_index(drop=True)
    names = kept.select_dtypes("category").columns
    return kept.assign(**{name: kept[name].cat.remove_unused_categories() for name in names})


def _listed(values: Iterable[Any]) -> str:
    texts = [str(value) for value in values]
    more = f" and {len(texts) - SHOWN:,} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
