"""Atomic writes and checked reads: damage of any kind is noticed, and nothing partial has a final name."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from nndefense.core import arrays, files, tables
from nndefense.core.errors import FileFault


def flip_bit(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.fixture
def array_file(tmp_path):
    path = tmp_path / "codes.npy"
    arrays.write_array(path, np.arange(600, dtype=np.float32).reshape(100, 6), {"pca": "abc", "skipped": [3]})
    return path


def test_sealed_array_round_trip(array_file):
    array, about = arrays.read_array(array_file, columns=6)
    mapped, _ = arrays.read_array(array_file, mapped=True)
    assert about == {"pca": "abc", "skipped": [3]}
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(array, mapped)
    np.testing.assert_array_equal(np.load(array_file), array)  # NumPy itself does not mind the trailer


def test_every_flipped_bit_is_noticed(array_file):
    whole = array_file.read_bytes()
    for offset in [*range(0, len(whole) - 1, 97), len(whole) - 5]:
        flip_bit(array_file, offset)
        with pytest.raises(FileFault, match=r"codes\.npy.*delete it and rerun"):
            arrays.read_array(array_file)
        array_file.write_bytes(whole)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncation_is_noticed(array_file, share):
    whole = array_file.read_bytes()
    array_file.write_bytes(whole[: int(share * len(whole))])
    for mapped in (False, True):
        with pytest.raises(FileFault, match="delete it and rerun"):
            arrays.read_array(array_file, mapped=mapped)


def test_zeroed_tail_and_appended_bytes_are_noticed(tmp_path):
    path = tmp_path / "index.faiss"
    arrays.write_sealed(path, b"x" * 5000, {})
    whole = path.read_bytes()
    path.write_bytes(whole[:2500] + bytes(2500) + whole[5000:])
    with pytest.raises(FileFault, match="checksum"):
        arrays.read_sealed(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(FileFault):
        arrays.read_sealed(path)


def test_wrong_columns_name_the_file(array_file):
    with pytest.raises(FileFault, match=r"codes\.npy: has shape \(100, 6\), expected 7 columns"):
        arrays.read_array(array_file, columns=7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    with pytest.raises(FileFault, match="NaN or infinite"):
        arrays.write_array(tmp_path / "a.npy", np.array([1.0, value]))
    assert not list(tmp_path.iterdir())


def test_object_arrays_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "evil.npz", ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileFault):
        arrays.read_arrays(tmp_path / "evil.npz")
    with pytest.raises(ValueError, match="Object arrays"):
        arrays.write_arrays(tmp_path / "evil2.npz", ids=np.array([object()], dtype=object))
    assert [path.name for path in tmp_path.iterdir()] == ["evil.npz"]


def test_npz_and_parquet_round_trip_and_damage(tmp_path):
    columns = {"row": np.arange(5000), "tag": np.array([f"tag {i % 7}" for i in range(5000)])}
    arrays.write_arrays(tmp_path / "a.npz", **columns)
    tables.write_table(tmp_path / "a.parquet", columns)
    for path, read in ((tmp_path / "a.npz", arrays.read_arrays), (tmp_path / "a.parquet", tables.read_table)):
        np.testing.assert_array_equal(read(path, "row")["row"], columns["row"])
        assert read(path, "tag")["tag"].tolist() == columns["tag"].tolist()
        with pytest.raises(FileFault, match=r"lacks|damaged"):
            read(path, "nothing")
        flip_bit(path, 3000)
        with pytest.raises(FileFault, match=re.escape(path.name)):
            read(path)


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a", "b"):
        arrays.write_arrays(tmp_path / f"{name}.npz", x=np.ones(3), y=np.zeros((2, 2)))
        tables.write_table(tmp_path / f"{name}.parquet", {"x": np.arange(9)})
    for suffix in ("npz", "parquet"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_full_disk_leaves_nothing_and_says_so_in_one_line(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileFault, match=r"a\.json: cannot be written \(No space left on device\)"):
        files.write_json(tmp_path / "a.json", {})
    assert not list(tmp_path.iterdir())


def test_error_while_writing_keeps_the_old_file(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")

    def fail():
        with files.atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_killed_writer_leaves_no_final_name_and_its_rest_is_cleared(tmp_path):
    program = textwrap.dedent(f"""
        import os, signal
        from nndefense.core import arrays, files, tables
        with files.atomic({str(tmp_path / "a.npy")!r}) as temporary:
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    scripts = Path(files.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(scripts)}, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.npy").exists()
    assert len(list(tmp_path.iterdir())) == 1
    arrays.write_array(tmp_path / "a.npy", np.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("count", [0, 10, 40_000])
def test_facts_of_any_length_are_read_back(tmp_path, count):
    """Longer than what is read of a file's end at first, too."""
    path, about = tmp_path / "long.npy", {"rows": list(range(count))}
    arrays.write_array(path, np.arange(6), about)
    array, found = arrays.read_array(path)
    assert found == about
    np.testing.assert_array_equal(array, np.arange(6))


@pytest.mark.parametrize("key", [b"about", b"bytes", b"sha256"])
def test_a_damaged_name_in_a_trailer_is_a_fault(tmp_path, key):
    path = tmp_path / "a.npy"
    arrays.write_array(path, np.arange(6), {})
    path.write_bytes(path.read_bytes().replace(b'"' + key + b'"', b'"' + key[:-1] + b'_"'))
    with pytest.raises(FileFault, match=r"a\.npy: is truncated or was not written by this workflow"):
        arrays.read_array(path)
