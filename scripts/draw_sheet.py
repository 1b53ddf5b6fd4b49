"""Draw a contact sheet of an image set, a row per tag: a look at what a database holds."""

import argparse

from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json, write_bytes
from nndefense.core.tables import read_table
from nndefense.images.description import open_described
from nndefense.report.sheet import arrange, choose_rows
from nndefense.report.style import figure_bytes, new_figure


def main(arguments: argparse.Namespace, job: Job) -> None:
    description = read_json(arguments.description)
    chosen = choose_rows(read_table(arguments.manifest, "tag")["tag"].astype(str), arguments.columns, arguments.tags)
    image_set = open_described(arguments.description)
    sheet = arrange([image_set.read(rows).images for _, rows in chosen])
    height, width = sheet.shape[:2]
    inches = 0.42 * len(chosen)
    figure, (axes,) = new_figure(inches * width / height + 1.2, inches)
    axes.imshow(sheet, interpolation="nearest", aspect="equal")
    middles = [(number + 0.5) * height / len(chosen) for number in range(len(chosen))]
    axes.set_yticks(middles, [tag for tag, _ in chosen])
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    write_bytes(arguments.output, figure_bytes(figure, "png"))
    job.say(f"{description['name']}: {len(chosen)} tags of {len(image_set):,} images")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--manifest", required=True, help="manifest.parquet of the set")
    options.add_argument("--description", required=True, help="set.json of the set")
    options.add_argument("--columns", type=int, default=16, help="images per tag")
    options.add_argument("--tags", type=int, default=30, help="most frequent tags shown")
    options.add_argument("--output", required=True, help="PNG to write")
    run(main, options.parse_args())
