"""Every single bit of every kind of file, turned: refused, or harmless. And a seal that covers itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nndefense.core import arrays, files, seals, tables, whose
from nndefense.core.blocks import read_blocks
from nndefense.core.errors import FileFault

MATRIX = np.arange(6, dtype=np.float32).reshape(3, 2)


class Kind(NamedTuple):
    """How a file of a kind is written, and read as a value that can be compared."""

    write: Callable[[Path], object]
    read: Callable[[Path], Any]


def told(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: (one.dtype.str, one.tolist()) for name, one in columns.items()}


def write_records(path: Path) -> None:
    with tables.stream_table(path) as table:
        table.append({"row": np.arange(3)}, [b"one", b"two", b"three"])
        table.facts = {"of": "a test"}


def read_records(path: Path) -> Any:
    table = tables.TableReader(path)
    return table.facts, [told(block) for block in table.blocks()], table.records(np.arange(len(table)))


def read_plain(path: Path) -> Any:
    array, about = arrays.read_array(path)
    return array.tolist(), about


def in_blocks(path: Path) -> Any:
    return np.concatenate([*read_blocks(path, 2)]).tolist()


CSV = "epsilon,accuracy\n0.04,0.485\n"
KINDS = {
    "a.npy": Kind(lambda path: arrays.write_array(path, MATRIX, {"pca": "abc"}), read_plain),
    "blocks.npy": Kind(lambda path: arrays.write_array(path, MATRIX), in_blocks),
    "a.npz": Kind(lambda path: arrays.write_arrays(path, ids=MATRIX), lambda path: told(arrays.read_arrays(path))),
    "a.faiss": Kind(lambda path: arrays.write_sealed(path, b"an index", {"rows": 3}), arrays.read_sealed),
    "a.json": Kind(lambda path: files.write_json(path, {"names": ["ä"], "share": 0.1}), files.read_json),
    "a.parquet": Kind(write_records, read_records),
    "a.csv": Kind(lambda path: files.write_text(path, CSV), lambda path: files.read_csv(path, None, "rows")),
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A folder of results that this process works for."""
    whose.begin(tmp_path)
    yield tmp_path
    whose.begin(None)


def refusal(kind: Kind, path: Path) -> str:
    """The error of reading a file, or nothing."""
    whose.begin(path.parent)
    try:
        kind.read(path)
    except FileFault as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", KINDS)
def test_no_bit_turns_unnoticed(run, name):
    kind, path = KINDS[name], run / name
    kind.write(path)
    whole, value = path.read_bytes(), kind.read(path)
    content, harmless = bytearray(whole), 0
    for place in range(len(whole)):
        for bit in range(8):
            content[place] ^= 1 << bit
            path.write_bytes(content)
            content[place] ^= 1 << bit
            whose.begin(run)
            try:
                assert kind.read(path) == value, (place, bit)
                harmless += 1
            except FileFault:
                pass
    # Parquet's first word is repeated at its end; an archive has dates and versions.
    assert harmless <= {"a.parquet": 32, "a.npz": 1200}.get(name, 0)


@pytest.mark.parametrize("name", KINDS)
def test_no_file_that_was_cut_is_read(run, name):
    kind, path = KINDS[name], run / name
    kind.write(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        error = refusal(kind, path)
        assert name in error
        assert len(error.splitlines()) == 1
    path.write_bytes(whole + b"\n")
    assert name in refusal(kind, path)


@pytest.mark.parametrize("name", KINDS)
def test_another_files_content_is_refused_by_name(run, name):
    kind = KINDS[name]
    for folder in ("0-60", "60-120"):
        kind.write(run / "codes" / folder / name)
    first, second = (run / "codes" / folder / name for folder in ("0-60", "60-120"))
    first.write_bytes(second.read_bytes())
    whose.begin(run)
    if name == "a.csv":  # a receipt knows the content, which is the same here
        assert kind.read(first)
        return
    with pytest.raises(FileFault, match=f"0-60/{name}: is codes/60-120/{name}, put into another's place"):
        kind.read(first)


def test_a_header_that_asks_for_less_is_refused(run):
    path = run / "a.npz"
    arrays.write_arrays(path, ids=np.zeros((2, 40, 30)))
    path.write_bytes(path.read_bytes().replace(b"(2, 40, 30)", b"(2, 40, 10)"))
    with pytest.raises(FileFault, match=r"a\.npz: has a wrong checksum"):
        arrays.read_arrays(path)


def test_a_seal_is_as_it_was_written(run):
    seal = seals.make_seal(run / "a.npy", "ab" * 32, 3, {"rows": 4})
    assert seals.is_whole(seal)
    for name in seal:
        assert not seals.is_whole({**seal, name: "other"})
        assert not seals.is_whole({key: value for key, value in seal.items() if key != name})
    assert not seals.is_whole({**seal, "more": 1})
    assert not seals.is_whole(None)
