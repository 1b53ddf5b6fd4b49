"""FAISS indexes of code shards: build, search, and pass as bytes so that the caller can store a checksum."""

import faiss
import numpy as np

from nndefense.errors import ConfigError, FileFault, InputError

# Below this queries * d FAISS does without BLAS. Its default of 128,000 is 4 to 11 times slower for batches of a few
# hundred queries at d=256; measured, the two ways cross at about 20, 8 and 3 queries for d = 64, 256 and 2048.
BLAS_THRESHOLD = 2000


def _codes(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim != 2 or array.dtype != np.float32:
        raise InputError(f"{what} must be (n, d) float32, got {array.shape} {array.dtype}")
    return np.ascontiguousarray(array)


def build_index(codes: np.ndarray, factory: str = "Flat") -> faiss.Index:
    """Squared-l2 index over codes (n, d) float32; ids are the row numbers.

    factory: FAISS factory string, e.g. "Flat", "IVF64,Flat", "SQ8", "IVF64,PQ32np". Write "np" after PQ: without it
    FAISS prepares a polysemous search, which nothing here uses, for seconds per sub-quantiser. Training uses FAISS's
    fixed seed, so the same codes give the same index. Raises ConfigError for a factory string that FAISS refuses,
    InputError for codes that are not finite float32 or too few to train on.
    """
    codes = _codes(codes, "codes")
    if not np.isfinite(codes).all():
        raise InputError(f"codes hold NaN or infinity in {int((~np.isfinite(codes)).any(axis=1).sum())} rows")
    try:
        index = faiss.index_factory(codes.shape[1], factory, faiss.METRIC_L2)
    except RuntimeError as error:
        raise ConfigError(f"index factory {factory!r} is not understood by FAISS for d={codes.shape[1]}") from error
    try:
        if not index.is_trained:
            index.train(codes)
        index.add(codes)
    except RuntimeError as error:
        raise InputError(f"index {factory!r} cannot be trained on {len(codes)} codes") from error
    return index


def invalid_queries(queries: np.ndarray) -> np.ndarray:
    """Mask (Q,) bool of the queries with a NaN or infinite entry, for which `search` finds nothing."""
    return ~np.isfinite(queries).all(axis=1)


def search(
    index: faiss.Index, queries: np.ndarray, k: int, *, nprobe: int | None = None, offset: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest codes of each query: ids (Q, k) int64 and squared l2 distances (Q, k) float32, nearest
    first.

    queries: (Q, d) float32. offset: the shard's first row, added to the ids. nprobe: cells visited, IVF
    indexes only. Places without a neighbour (k > n, too few cells visited, or a query that is not finite)
    hold id -1, distance inf. Ties are ordered by id; which of several codes tied at the k-th place is kept is
    FAISS's choice. Raises InputError for a shape, k or nprobe that does not fit the index.
    """
    queries = _codes(queries, "queries")
    if queries.shape[1] != index.d:
        raise InputError(f"queries have {queries.shape[1]} dimensions, the index has {index.d}")
    if k < 1:
        raise InputError(f"k is {k}; allowed: an integer >= 1")
    _set_nprobe(index, nprobe)
    faiss.cvar.distance_compute_blas_threshold = BLAS_THRESHOLD
    places = min(k, index.ntotal)
    valid = ~invalid_queries(queries)
    if not places or not valid.any():
        return no_places(len(queries), k)
    distances, ids = index.search(queries if valid.all() else queries[valid], places)
    return fill_places(ids, distances, valid, k, offset)


def no_places(queries: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists without any neighbour: ids (queries, k) int64 of -1 and distances (queries, k) float32 of inf."""
    return np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), np.inf, dtype=np.float32)


def fill_places(
    found: np.ndarray, distances: np.ndarray, valid: np.ndarray, k: int, offset: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lists (Q, k) as `search` returns them, from what FAISS found for the valid queries.

    found, distances: (queries where `valid`, places <= k). valid: (Q,) bool. offset: added to the ids.
    """
    nearest, nearest_distances = no_places(len(valid), k)
    missing = found < 0
    distances = np.where(missing, np.float32(np.inf), distances.astype(np.float32, copy=False))
    found = np.where(missing, np.iinfo(np.int64).max, found + offset)
    order = np.lexsort((found, distances), axis=1)
    found[missing] = -1
    places = found.shape[1]
    nearest[valid, :places] = np.take_along_axis(found, order, axis=1)
    nearest_distances[valid, :places] = np.take_along_axis(distances, order, axis=1)
    return nearest, nearest_distances


def _set_nprobe(index: faiss.Index, nprobe: int | None) -> None:
    if nprobe is None:
        return
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None or nprobe < 1:
        raise InputError(f"nprobe is {nprobe}; allowed: an integer >= 1, and only with an IVF index")
    ivf.nprobe = min(nprobe, ivf.nlist)


def index_to_bytes(index: faiss.Index) -> bytes:
    """The index as FAISS writes it to a file. Keep a checksum: FAISS loads some damaged data silently."""
    return faiss.serialize_index(index).tobytes()


def index_from_bytes(data: bytes, *, dimension: int | None = None, rows: int | None = None) -> faiss.Index:
    """Inverse of `index_to_bytes`; verify the data's checksum first.

    Raises FileFault if FAISS refuses the data, the metric is not l2, or dimension or rows differ from those
    given.
    """
    try:
        index = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        raise FileFault("index data is damaged or not a FAISS index") from error
    if index.metric_type != faiss.METRIC_L2:
        raise FileFault(f"index has metric {index.metric_type}, expected l2 ({faiss.METRIC_L2})")
    if dimension is not None and index.d != dimension:
        raise FileFault(f"index has dimension {index.d}, expected {dimension}")
    if rows is not None and index.ntotal != rows:
        raise FileFault(f"index has {index.ntotal} rows, expected {rows}")
    return index
