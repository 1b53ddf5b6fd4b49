"""Fill a copy of a pool's trained index with the codes of a shard; ids are rows of the pool."""

import argparse

from nndefense.core.arrays import read_sealed, write_sealed
from nndefense.core.command import Job, parser, run
from nndefense.database.engines.stored import Span
from nndefense.database.engines.trained import Trained
from nndefense.database.index import index_to_bytes


def main(arguments: argparse.Namespace, job: Job) -> None:
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    trained, about = read_sealed(arguments.trained)
    span = Span([arguments.codes], [arguments.skipped], **{name: about[name] for name in ("model", "layer", "pca")})
    index = Trained(trained=trained).build(span.blocks(), first=span.start, skipped=span.skipped())
    content = index_to_bytes(index)
    job.say(f"{about['factory']}: {index.ntotal:,} codes of {index.d} dimensions, {len(content):,} bytes")
    facts = {"start": span.start, "stop": span.stop, "rows": index.ntotal}
    write_sealed(arguments.output, content, about | span.about | facts)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--trained", required=True, help="index that train_index.py made")
    options.add_argument("--codes", required=True, help=".npy of a shard")
    options.add_argument("--skipped", required=True, help="its rows without codes, .npy")
    options.add_argument("--output", required=True, help="index to write")
    run(main, options.parse_args())
