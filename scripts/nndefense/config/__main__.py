"""Print the configuration page; with --write, write it to config/README.md, and schemas/config.schema.json."""

import argparse
import sys
from pathlib import Path

from nndefense.config.document import document, schema

if __name__ == "__main__":
    options = argparse.ArgumentParser("python -m nndefense.config", description=__doc__)
    options.add_argument("--write", action="store_true", help="write both files, below the working directory")
    if options.parse_args().write:
        for name, text in (("config/README.md", document()), ("schemas/config.schema.json", schema())):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(document())
