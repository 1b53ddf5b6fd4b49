"""List an image set: source, label and tag of every row, and how to open the set again. Decodes nothing."""

import argparse
import json

from nndefense.core.command import Job, parser, run
from nndefense.core.progress import Progress
from nndefense.images.description import list_set


def main(arguments: argparse.Namespace, job: Job) -> None:
    options, files = json.loads(arguments.image_set), (arguments.description, arguments.manifest)
    with Progress(f"list {arguments.name}", None, "images", job.log) as progress:
        about = list_set(arguments.name, options, *files, progress.advance)
    job.say(f"{arguments.name}: {about['rows']:,} images, {len(about['class_names'])} classes")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--name", required=True, help="name of the set")
    options.add_argument("--image-set", required=True, help="kind and options of the set, as JSON")
    options.add_argument("--manifest", required=True, help="parquet to write")
    options.add_argument("--description", required=True, help="JSON to write")
    run(main, options.parse_args())
