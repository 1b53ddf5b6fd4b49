"""FAISS indexes of packed bit codes: exact search by Hamming distance, the counterpart of `index` for bits."""

import faiss
import numpy as np

from nndefense.database.index import fill_places, no_places
from nndefense.errors import FileFault, InputError

# What FAISS calls an exact binary index; recorded with the index in place of a factory string.
BINARY_FACTORY = "BFlat"


def _bits(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim != 2 or array.dtype != np.uint8:
        raise InputError(f"{what} must be packed bits (n, bytes) uint8, got {array.shape} {array.dtype}")
    return np.ascontiguousarray(array)


def build_binary_index(codes: np.ndarray) -> faiss.IndexBinaryFlat:
    """Exact Hamming index over packed bits (n, bytes) uint8; ids are the row numbers. InputError for other codes."""
    codes = _bits(codes, "codes")
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return index


def search_binary(
    index: faiss.IndexBinaryFlat, queries: np.ndarray, k: int, *, valid: np.ndarray | None = None, offset: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes of each query: ids (Q, k) int64 and Hamming distances (Q, k) float32, nearest first.

    queries: (Q, bytes) uint8. valid: (Q,) bool mask of the queries that are searched, all without it; bits cannot
    hold NaN, so it must come from the codes before packing. offset: the shard's first row, added to the ids.
    Places without a neighbour (k > n, or a query that is not valid) hold id -1, distance inf.

    Ties are frequent: 256 bits give 257 distances. They are ordered by id, also at the k-th place, where the
    smallest ids are kept: FAISS reads codes in order and replaces only at a strictly smaller distance. So merging
    the lists of shards equals one search of their union. Raises InputError for a shape or k that does not fit.
    """
    queries = _bits(queries, "queries")
    if 8 * queries.shape[1] != index.d:
        raise InputError(f"queries have {8 * queries.shape[1]} bits, the index has {index.d}")
    if k < 1:
        raise InputError(f"k is {k}; allowed: an integer >= 1")
    valid = np.ones(len(queries), dtype=bool) if valid is None else valid
    if valid.shape != (len(queries),) or valid.dtype != bool:
        raise InputError(f"valid must be ({len(queries)},) bool, got {valid.shape} {valid.dtype}")
    places = min(k, index.ntotal)
    if not places or not valid.any():
        return no_places(len(queries), k)
    distances, ids = index.search(queries if valid.all() else queries[valid], places)
    return fill_places(ids, distances, valid, k, offset)


def binary_index_to_bytes(index: faiss.IndexBinaryFlat) -> bytes:
    """The index as FAISS writes it to a file. Keep a checksum: FAISS loads some damaged data silently."""
    return faiss.serialize_index_binary(index).tobytes()


def binary_index_from_bytes(data: bytes, *, bits: int | None = None, rows: int | None = None) -> faiss.IndexBinaryFlat:
    """Inverse of `binary_index_to_bytes`; verify the data's checksum first.

    Raises FileFault if FAISS refuses the data, the index is no exact one, or bits or rows differ from those given.
    """
    try:
        index = faiss.deserialize_index_binary(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        raise FileFault("index data is damaged or not a binary FAISS index") from error
    if not isinstance(index, faiss.IndexBinaryFlat):
        raise FileFault(f"index is a {type(index).__name__}, expected IndexBinaryFlat")
    if bits is not None and index.d != bits:
        raise FileFault(f"index has {index.d} bits, expected {bits}")
    if rows is not None and index.ntotal != rows:
        raise FileFault(f"index has {index.ntotal} rows, expected {rows}")
    return index
