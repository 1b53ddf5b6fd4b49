"""Tables of any length: Parquet written and read in row groups, and values of single rows, found by their number.

Parquet decodes a row group as a whole, so a thousand rows of a large table, scattered, would cost all of it. What has
to be found by row number therefore stands a second time between the row groups, where readers of Parquet do not look:
behind each group, where the record of every row starts, its length and its CRC-32; then the records.

The seal (`nndefense.core.seals`) stands among the metadata of the file, with a CRC-32 of every row group; a digest of
the footer, of which it is a part, stands in it with its own place zeroed. What is read is verified, and nothing else
is read.
"""

import contextlib
import hashlib
import json
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.core import whose
from nndefense.core.errors import InputError
from nndefense.core.files import atomic
from nndefense.core.footer import FOOTER, MAGIC, SEAL, ZEROS, fill_footer, part_crc, read_footer
from nndefense.core.seals import READERS, canonical, fault, is_whole, make_seal

if TYPE_CHECKING:
    import pyarrow

ROWS = 65_536  # of a row group
FACTS, RECORDS, REPEATED = b"nndefense", b"nndefense records", b"nndefense repeated"
ENTRY = struct.Struct("<III")  # start among the group's records, bytes, CRC-32
MAX_RECORD = 1 << 20

Columns = Mapping[str, np.ndarray]


class TableWriter:
    """What `stream_table` yields.

    Attributes:
        facts: small JSON that tells what the table belongs to; may be set until the end.
        rows: appended so far.
    """

    def __init__(self, sink: "pyarrow.NativeFile", repeated: Sequence[str]) -> None:
        self.facts: dict[str, Any] = {}
        self.rows = self._count = 0
        self._sink, self._repeated = sink, list(repeated)
        self._writer: Any = None
        self._groups: list[tuple[int, int]] = []  # first byte and the one behind the last
        self._waiting: list[pyarrow.Table] = []
        self._records: list[bytes] = []
        self._sections: list[int] = []

    def append(self, columns: Columns, records: Sequence[bytes] | None = None) -> None:
        """Append rows.

        Args:
            columns: name -> values (n,), the same names and types each time; n may be 0.
            records: what is found by row number, one a row or, in the whole table, none.
        """
        import pyarrow

        # No text would have no type of its own.
        text = {name: pyarrow.string() for name, values in columns.items() if values.dtype.kind in "OU"}
        table = pyarrow.table({name: pyarrow.array(one, type=text.get(name)) for name, one in columns.items()})
        if len(records or ()) != (len(table) if records is not None else 0):
            raise InputError(f"{len(records or ())} records of {len(table)} rows; allowed: one a row")
        self._waiting.append(table)
        self._records += records or ()
        self.rows += len(table)
        self._count += len(table)
        while self._count >= ROWS:
            self._write(ROWS)

    def finish(self, path: str | Path, written: Path) -> None:
        """Write what is left, the facts, and the seal. path: the final one; written: where it is for now."""
        if self._writer is None or self._count:
            self._write(ROWS)
        self._sink.flush()
        sums = [[start, end, part_crc(written, start, end)] for start, end in self._groups]
        notes = {FACTS: self.facts, RECORDS: self._sections, REPEATED: self._repeated}
        content = canonical([self.facts, self._sections, sums, str(self._writer.schema), self.rows])
        end = self._groups[-1][1] if self._groups else len(MAGIC)
        seal = make_seal(path, hashlib.sha256(content.encode()).hexdigest(), end, {"groups": sums})
        values = {name: canonical(one) for name, one in {**notes, SEAL: seal}.items()}
        self._writer.add_key_value_metadata({**values, FOOTER: ZEROS})
        self._writer.close()

    def close(self) -> None:
        """Let go of what was not finished because of an error, which is on its way."""
        if self._writer is not None:
            with contextlib.suppress(Exception):
                self._writer.close()

    def _write(self, count: int) -> None:
        """Write one row group of at most `count` of the waiting rows, and their records behind it."""
        import pyarrow
        from pyarrow import parquet

        whole = pyarrow.concat_tables(self._waiting)
        self._waiting = [whole.slice(count)]
        self._count = len(self._waiting[0])
        if self._writer is None:
            self._repeated = [name for name in self._repeated if name in whole.column_names]
            self._writer = parquet.ParquetWriter(
                self._sink, whole.schema, use_dictionary=self._repeated, write_page_checksum=True
            )
        group = whole.slice(0, count)
        if len(group):
            start = self._sink.tell()
            self._writer.write_table(group, row_group_size=len(group))
            self._groups.append((start, self._sink.tell()))
        if records := self._records[:count]:
            self._write_records(records)
            self._records = self._records[count:]

    def _write_records(self, records: Sequence[bytes]) -> None:
        first, start, entries = ROWS * len(self._sections), 0, bytearray()
        for row, record in enumerate(records, first):
            if len(record) > MAX_RECORD:
                raise InputError(f"row {row} has a record of {len(record):,} bytes; allowed: {MAX_RECORD:,}")
            entries += ENTRY.pack(start, len(record), _checksum(row, record))
            start += len(record)
        self._sections.append(self._sink.tell())
        self._sink.write(bytes(entries) + b"".join(records))


@contextlib.contextmanager
def stream_table(path: str | Path, repeated: Sequence[str] = ()) -> Iterator[TableWriter]:
    """Write a table atomically, row group by row group: holds one of them.

    Args:
        path: of the file.
        repeated: columns whose values recur, which are stored as a dictionary.

    Raises:
        FileFault: the file cannot be written.
    """
    import pyarrow

    with atomic(path) as temporary:
        with pyarrow.OSFile(str(temporary), "wb") as sink:
            table = TableWriter(sink, repeated)
            try:
                yield table
                table.finish(path, temporary)
            finally:
                table.close()
        fill_footer(temporary)


class TableReader:
    """A table on disk, of which only its footer is read when it is opened.

    Attributes:
        facts: as they were written.

    Raises:
        FileFault: the file is absent, damaged, another file's, or was not written by `stream_table`.
    """

    def __init__(self, path: str | Path) -> None:
        from pyarrow import parquet

        self.path = path
        footer = read_footer(path)
        if not is_whole(footer.seal) or hashlib.sha256(footer.content).hexdigest().encode() != footer.digest:
            raise fault(path, "is damaged or was not written by this workflow")
        whose.accept(path, footer.seal, READERS)
        self._groups = footer.seal["about"]["groups"]
        with self._faults():
            about = parquet.read_metadata(path)
            notes = about.metadata or {}
            self.facts: dict[str, Any] = json.loads(notes.get(FACTS, b"{}"))
            self._sections: list[int] = json.loads(notes.get(RECORDS, b"[]"))
            # Values that recur are then one object.
            known = {"metadata": about, "read_dictionary": json.loads(notes.get(REPEATED, b"[]"))}
            self._file = parquet.ParquetFile(path, **known)
            counts = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._starts = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def has_records(self) -> bool:
        """Whether there is a record of every row."""
        return bool(self._sections)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self._file.schema_arrow.names

    def blocks(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        """Columns, one row group after the other; all columns without names."""
        for group in range(len(self._starts) - 1):
            yield self._group(group, names)

    def take(self, rows: np.ndarray, *names: str) -> dict[str, np.ndarray]:
        """Columns of rows (n,) int64, in that order; reads the row groups that these lie in, one at a time.

        Raises:
            InputError: a row that the table does not have.
        """
        rows = np.asarray(rows, dtype=np.int64)
        self._check(rows)
        nothing = _arrays(self._file.schema_arrow.empty_table().select(self._known(names)))
        found = {name: np.empty(len(rows), values.dtype) for name, values in nothing.items()}
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], self._starts)
        for group in np.flatnonzero(np.diff(cuts)).tolist():
            places = order[cuts[group] : cuts[group + 1]]
            for name, values in self._group(group, names).items():
                found[name][places] = values[rows[places] - self._starts[group]]
        return found

    def records(self, rows: np.ndarray) -> list[bytes]:
        """Records of rows (n,) int64, in that order; reads nothing else.

        Raises:
            InputError: a row that the table does not have.
            FileFault: the file has no records, or one of these is damaged.
        """
        self._check(rows)
        if len(rows) and not self._sections:
            raise fault(self.path, "was not written by this workflow: it does not say where its rows lie")
        with open(self.path, "rb") as handle:
            return [self._record(handle.fileno(), row) for row in np.asarray(rows).tolist()]

    def _record(self, descriptor: int, row: int) -> bytes:
        group = bisect_right(self._starts, row) - 1
        first, end = self._starts[group : group + 2].tolist()
        section, entry = self._sections[group], ENTRY.size
        head = os.pread(descriptor, entry, section + entry * (row - first))
        start, size, checksum = ENTRY.unpack(head) if len(head) == entry else (0, MAX_RECORD + 1, 0)
        if size <= MAX_RECORD:
            record = os.pread(descriptor, size, section + entry * (end - first) + start)
            if len(record) == size and _checksum(row, record) == checksum:
                return record
        raise fault(self.path, f"has a wrong checksum at row {row} (damaged on disk)")

    def _check(self, rows: np.ndarray) -> None:
        if len(rows) and not 0 <= np.min(rows) <= np.max(rows) < len(self):
            raise InputError(f"{self.path}: rows {np.min(rows)} to {np.max(rows)}; allowed: 0 to {len(self) - 1}")

    def _known(self, names: Sequence[str]) -> list[str]:
        if missing := sorted(set(names) - set(self.names)):
            raise fault(self.path, f"lacks column {', '.join(missing)}")
        return list(names) or self.names

    def _group(self, group: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        known = self._known(names)
        start, end, crc = self._groups[group]
        if part_crc(self.path, start, end) != crc:
            raise fault(self.path, f"has a wrong checksum in row group {group} (damaged on disk)")
        with self._faults():
            return _arrays(self._file.read_row_group(group, columns=known, use_threads=False))

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Arrow raises many kinds for damaged bytes
            raise fault(self.path, f"is damaged or not a parquet file ({type(error).__name__}: {error})") from error


def write_table(path: str | Path, columns: Columns) -> None:
    """Write columns as a table, at once."""
    with stream_table(path) as table:
        table.append(columns)


def read_table(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Columns of a table as arrays; all without names. FileFault as of `TableReader`."""
    table = TableReader(path)
    parts = [_arrays(table._file.schema_arrow.empty_table().select(table._known(names))), *table.blocks(*names)]
    return {name: np.concatenate([part[name] for part in parts[min(1, len(parts) - 1) :]]) for name in parts[0]}


def _arrays(table: "pyarrow.Table") -> dict[str, np.ndarray]:
    return {name: _values(table[name]) for name in table.column_names}


def _values(column: "pyarrow.ChunkedArray") -> np.ndarray:
    if not hasattr(column.type, "value_type"):
        return column.to_numpy()
    parts = [chunk.dictionary.to_numpy(zero_copy_only=False)[chunk.indices.to_numpy()] for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.empty(0, dtype=object)


def _checksum(row: int, record: bytes) -> int:
    """CRC-32 of a record and of the row that it belongs to."""
    return zlib.crc32(record, row & 0xFFFFFFFF)
