"""Search the index of a shard for the nearest neighbours of a query set; ids are rows of the pool."""

import argparse

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.database.binary_index import binary_index_from_bytes, search_binary
from nndefense.database.index import index_from_bytes, invalid_queries, search
from nndefense.database.shards import parse_shard_name
from nndefense.errors import FileFault
from nndefense.features.bits import pack_signs
from nndefense.features.names import is_rmac
from nndefense.features.stored_pca import read_pca
from nndefense.files import read_array, read_sealed, write_arrays
from nndefense.skipped import usable


def open_index(path: str, pca_id: str, model: str, layer: str, start: int):
    """A shard's verified index, and the pool row of each of its codes; FileFault names what does not fit."""
    content, about = read_sealed(path)
    expected = {"pca": pca_id, "model": model, "layer": layer, "start": start}
    for key, value in expected.items():
        if about[key] != value:
            raise FileFault(f"{path}: was built with {key} {about[key]}, the queries have {value}; delete it and rerun")
    rows = start + usable(about["stop"] - start, about["skipped"])
    if is_rmac(layer):
        return binary_index_from_bytes(content, bits=about["dimension"], rows=len(rows)), rows
    return index_from_bytes(content, dimension=about["dimension"], rows=len(rows)), rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    pca, pca_id = read_pca(arguments.pca)
    features, about = read_array(arguments.features, columns=len(pca.mean))
    start, _ = parse_shard_name(arguments.shard)
    index, rows = open_index(arguments.index, pca_id, about["model"], about["layer"], start)
    codes = pca.transform(features)
    codes[about["skipped"]] = np.nan
    if is_rmac(about["layer"]):
        ids, distances = search_binary(index, pack_signs(codes), arguments.neighbors, valid=~invalid_queries(codes))
    else:
        ids, distances = search(index, codes, arguments.neighbors, nprobe=arguments.probes)
    found = ids >= 0
    ids[found] = rows[ids[found]]
    job.say(
        f"{len(codes):,} queries in {index.ntotal:,} codes, {arguments.neighbors} neighbours each, "
        f"{int((~found).sum()):,} places empty, {len(about['skipped'])} unusable queries"
    )
    write_arrays(arguments.output, ids=ids, distances=distances)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--features", required=True, help="features of the query set, .npy")
    options.add_argument("--pca", required=True, help=".npz of the pool's PCA")
    options.add_argument("--index", required=True, help="index of the shard")
    options.add_argument("--shard", required=True, help="rows of the pool, START-STOP")
    options.add_argument("--neighbors", type=int, default=100, help="neighbours kept per query")
    options.add_argument("--probes", type=int, help="lists an inverted-file index visits")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
