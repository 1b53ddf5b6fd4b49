"""List an image set: source, label and tag of every row, and how to open the set again. Decodes nothing."""

import argparse
import json

from nndefense.core.command import Job, parser, run
from nndefense.core.files import write_json, write_table
from nndefense.images.description import describe_set, open_options


def main(arguments: argparse.Namespace, job: Job) -> None:
    options = json.loads(arguments.image_set)
    image_set = open_options(options)
    manifest = image_set.manifest()
    job.say(f"{arguments.name}: {len(image_set):,} images, {len(image_set.class_names)} classes")
    write_table(arguments.manifest, manifest)
    write_json(arguments.description, describe_set(arguments.name, options, image_set, manifest["source"]))


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--name", required=True, help="name of the set")
    options.add_argument("--image-set", required=True, help="kind and options of the set, as JSON")
    options.add_argument("--manifest", required=True, help="parquet to write")
    options.add_argument("--description", required=True, help="JSON to write")
    run(main, options.parse_args())
