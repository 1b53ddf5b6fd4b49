"""Plot figure 2: a test image, clean and perturbed, with its nearest database images."""

import argparse

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.database.stored_softmax import open_stores
from nndefense.errors import InputError
from nndefense.files import read_array, read_arrays, read_json, read_table, write_bytes
from nndefense.images.pool import PoolReader
from nndefense.report.fig2 import COLUMNS, Neighborhood, choose_query, draw_fig2, query_title, sheet_rows
from nndefense.report.style import figure_bytes
from nndefense.retrieval.queries import query_axes
from nndefense.retrieval.rows import write_rows
from nndefense.retrieval.weights import weight_columns


def choose_place(arguments: argparse.Namespace, labels: np.ndarray, rows: np.ndarray, predicted: list) -> int:
    """Position of the test image in the query sets."""
    if arguments.image is None:
        return choose_query(labels, predicted)
    if arguments.image not in rows:
        raise InputError(f"--image {arguments.image}: is not among the queries")
    return int(np.flatnonzero(rows == arguments.image)[0])


def main(arguments: argparse.Namespace, job: Job) -> None:
    class_names = read_json(arguments.description)["class_names"]
    common = read_arrays(arguments.queries[0], "labels", "rows")
    predicted = [read_array(path)[0].argmax(1) for path in arguments.predicted]
    place = choose_place(arguments, common["labels"], common["rows"], predicted)
    true_class = class_names[common["labels"][place]]
    (store,) = open_stores(arguments.softmax, arguments.weights).values()
    columns = read_table(arguments.pool, "set", "row")
    database = PoolReader(columns["set"], columns["row"], map(read_json, arguments.sets))
    rows, ids = [], []
    for path, name, lists, classes in zip(
        arguments.queries, arguments.queries_names, arguments.neighbors, predicted, strict=True
    ):
        merged = read_arrays(lists, "sizes", "ids", "distances")
        sizes = merged["sizes"].tolist()
        if arguments.size is not None and arguments.size not in sizes:
            raise InputError(f"--size {arguments.size}: allowed: {', '.join(map(str, sizes))}")
        ladder = sizes.index(arguments.size or max(sizes))
        found = merged["ids"][ladder, place, : arguments.count]
        softmax, weights, _ = store.take(found)
        weighting = weights[:, weight_columns().index(arguments.weighting)] if arguments.weighting != "UW" else None
        rows.append(
            Neighborhood(
                name=query_title(query_axes(name)),
                image=read_arrays(path, "images")["images"][place].transpose(1, 2, 0),
                predicted=class_names[classes[place]],
                neighbors=database.read(found).images,
                classes=[class_names[number] for number in softmax.argmax(1)],
                weights=np.ones(len(found)) if weighting is None else weighting,
                # The lists hold squared distances.
                distances=np.sqrt(merged["distances"][ladder, place, : arguments.count]),
            )
        )
        ids.append(found)
    figure = draw_fig2(rows, true_class, arguments.weighting)
    write_bytes(arguments.pdf, figure_bytes(figure, "pdf"))
    write_bytes(arguments.png, figure_bytes(figure, "png"))
    axes = [query_axes(name) for name in arguments.queries_names]
    write_rows(arguments.csv, sheet_rows(rows, axes, np.array(ids), true_class), COLUMNS)
    job.say(f"test image {common['rows'][place]}: {true_class}")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument(
        "--queries", nargs="+", required=True, help="query sets, .npz: clean first, largest budget last"
    )
    options.add_argument("--queries-names", nargs="+", required=True, help="their names, in the same order")
    options.add_argument("--neighbors", nargs="+", required=True, help="their merged neighbours in the pool")
    options.add_argument("--predicted", nargs="+", required=True, help="their softmax rows, .npy")
    options.add_argument("--pool", required=True, help="pool, parquet")
    options.add_argument("--sets", nargs="+", required=True, help="set.json of every image set of the pool")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of the pool's shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--description", required=True, help="set.json of the test images, which names the classes")
    options.add_argument("--weighting", default="CBW-D", help="weights shown")
    options.add_argument("--size", type=int, help="images of the database (default: all of the pool's)")
    options.add_argument("--count", type=int, default=5, help="neighbours shown")
    options.add_argument("--image", type=int, help="row of the test image (default: the first that the attack fools)")
    options.add_argument("--csv", required=True)
    options.add_argument("--pdf", required=True)
    options.add_argument("--png", required=True)
    run(main, options.parse_args())
