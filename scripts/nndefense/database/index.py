"""Search of a shard's codes: float codes by squared l2 distance in a FAISS index, packed sign bits by Hamming distance.

Both kinds are built, searched, and passed as bytes, so that the caller can store a checksum, by the same functions. An
index of bits is always exact. Queries are float codes either way: which of their signs are kept is the index's affair.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.seals import fault
from nndefense.features.bits import pack_signs

Index = faiss.Index | faiss.IndexBinary

# What FAISS calls an exact binary index; recorded with the index in place of a factory string.
BINARY_FACTORY = "BFlat"
# Below this queries * d FAISS does without BLAS. Its default of 128,000 is 4 to 11 times slower for batches of a few
# hundred queries at d=256; measured, the two ways cross at about 20, 8 and 3 queries for d = 64, 256 and 2048.
BLAS_THRESHOLD = 2000


def build_index(codes: np.ndarray, factory: str = "Flat") -> Index:
    """An index over codes; ids are the row numbers. The same codes give the same index.

    Args:
        codes: (n, d) float32, or packed bits (n, bytes) uint8.
        factory: FAISS factory string for float codes, e.g. "Flat", "IVF64,Flat", "SQ8", "IVF64,PQ32np". Write "np"
            after PQ: without it FAISS prepares a polysemous search, which nothing here uses, for seconds per
            sub-quantiser. Bits have an exact index whatever it says.

    Raises:
        ConfigError: a factory string that FAISS refuses.
        InputError: other codes, codes that are not finite, or too few to train on.
    """
    if codes.ndim != 2 or codes.dtype not in (np.float32, np.uint8):
        raise InputError(f"codes must be (n, d) float32 or packed bits uint8, got {codes.shape} {codes.dtype}")
    codes = np.ascontiguousarray(codes)
    if codes.dtype == np.uint8:
        exact = faiss.IndexBinaryFlat(8 * codes.shape[1])
        exact.add(codes)
        return exact
    if len(bad := np.flatnonzero(~np.isfinite(codes).all(axis=1))):
        raise InputError(f"codes hold NaN or infinity in {len(bad)} rows")
    index = train_index(codes, factory)
    index.add(codes)
    return index


def train_index(sample: np.ndarray, factory: str) -> faiss.Index:
    """An index without codes, trained on a sample (n, d) float32, finite; errors as of `build_index`."""
    try:
        index = faiss.index_factory(sample.shape[1], factory, faiss.METRIC_L2)
    except RuntimeError as error:
        raise ConfigError(f"index factory {factory!r} is not understood by FAISS for d={sample.shape[1]}") from error
    try:
        index.train(np.ascontiguousarray(sample))
    except RuntimeError as error:
        raise InputError(f"index {factory!r} cannot be trained on {len(sample)} codes") from error
    return index


def search(
    index: Index,
    queries: np.ndarray,
    k: int,
    *,
    nprobe: int | None = None,
    ids: np.ndarray | None = None,
    ordered: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes of each query: ids (Q, k) int64 and distances (Q, k) float32, nearest first, ties by id.

    Places without a neighbour (k > n, too few cells visited, or a query that is not finite) hold id -1, distance inf.
    At the k-th place, FAISS chooses among equal float codes. Equal Hamming distances are frequent (256 bits give 257):
    there the smallest ids are kept, since FAISS reads codes in order and replaces only at a strictly smaller distance;
    so merging the lists of shards equals one search of their union.

    Args:
        index: of float codes (squared l2 distance) or of bits (Hamming distance).
        queries: (Q, d) float32 codes; bits compare their signs.
        k: places of the lists.
        nprobe: cells visited by an IVF index; without effect on bits.
        ids: of the codes, (n,) int64 ascending; their row numbers without.
        ordered: False leaves the lists in the order of the index, for those who need the set alone.

    Raises:
        InputError: a shape, k, nprobe or ids that do not fit the index.
    """
    if queries.ndim != 2 or queries.dtype != np.float32:
        raise InputError(f"queries must be (Q, d) float32, got {queries.shape} {queries.dtype}")
    if k < 1:
        raise InputError(f"k is {k}; allowed: an integer >= 1")
    if ids is not None and ids.shape != (index.ntotal,):
        raise InputError(f"ids must be ({index.ntotal},), one per code, got {ids.shape}")
    valid = np.isfinite(queries).all(axis=1)
    prepared = _prepared(index, queries if valid.all() else queries[valid], nprobe)
    nearest = np.full((len(queries), k), -1, dtype=np.int64)
    distances = np.full((len(queries), k), np.inf, dtype=np.float32)
    places = min(k, index.ntotal)
    if not places or not valid.any():
        return nearest, distances
    lengths, found = index.search(prepared, places)
    nearest[valid, :places], distances[valid, :places] = _named(found, lengths, ids, ordered)
    return nearest, distances


def _prepared(index: Index, queries: np.ndarray, nprobe: int | None) -> np.ndarray:
    """The queries as the index takes them."""
    if isinstance(index, faiss.IndexBinary):
        queries = pack_signs(queries)
        if 8 * queries.shape[1] != index.d:
            raise InputError(f"queries have {8 * queries.shape[1]} bits, the index has {index.d}")
        return queries
    if queries.shape[1] != index.d:
        raise InputError(f"queries have {queries.shape[1]} dimensions, the index has {index.d}")
    _set_nprobe(index, nprobe)
    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    return np.ascontiguousarray(queries)


def _named(
    found: np.ndarray, distances: np.ndarray, ids: np.ndarray | None, ordered: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and float32 distances, by distance and then id where they are ordered; FAISS's missing places last."""
    missing = found < 0
    distances = np.where(missing, np.float32(np.inf), distances.astype(np.float32, copy=False))
    named = np.full(found.shape, np.iinfo(np.int64).max)
    named[~missing] = found[~missing] if ids is None else ids[found[~missing]]
    found = named
    if not ordered:
        return np.where(missing, -1, found), distances
    order = np.lexsort((found, distances), axis=1)
    found[missing] = -1
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _set_nprobe(index: faiss.Index, nprobe: int | None) -> None:
    if nprobe is None:
        return
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None or nprobe < 1:
        raise InputError(f"nprobe is {nprobe}; allowed: an integer >= 1, and only with an IVF index")
    ivf.nprobe = min(nprobe, ivf.nlist)


def index_to_bytes(index: Index) -> bytes:
    """The index as FAISS writes it to a file. Keep a checksum: FAISS loads some damaged data silently."""
    if isinstance(index, faiss.IndexBinary):
        return faiss.serialize_index_binary(index).tobytes()
    return faiss.serialize_index(index).tobytes()


def index_from_bytes(data: bytes, *, dimension: int | None = None, rows: int | None = None) -> Index:
    """Inverse of `index_to_bytes`; verify the data's checksum first.

    Args:
        data: of an index of either kind.
        dimension: dimensions, or bits, that it must have.
        rows: codes that it must hold.

    Raises:
        FileFault: FAISS refuses the data, it compares by another distance, or dimension or rows differ.
    """
    # The first letters that FAISS writes are those of the class: IB of all binary ones.
    read = faiss.deserialize_index_binary if data[:2] == b"IB" else faiss.deserialize_index
    try:
        index = read(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        raise FileFault("index data is damaged or not a FAISS index") from error
    if isinstance(index, faiss.IndexBinary):
        if not isinstance(index, faiss.IndexBinaryFlat):
            raise FileFault(f"index is a {type(index).__name__}, expected IndexBinaryFlat")
    elif index.metric_type != faiss.METRIC_L2:
        raise FileFault(f"index has metric {index.metric_type}, expected l2 ({faiss.METRIC_L2})")
    if dimension is not None and index.d != dimension:
        raise FileFault(f"index has dimension {index.d}, expected {dimension}")
    if rows is not None and index.ntotal != rows:
        raise FileFault(f"index has {index.ntotal} rows, expected {rows}")
    return index


def check_made_with(path: str | Path, about: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises FileFault, naming both, where a file of a database tells of something else than is expected."""
    for key, value in expected.items():
        if about.get(key) != value:
            raise fault(path, f"was made with {key} {about.get(key)}, expected {value}")
