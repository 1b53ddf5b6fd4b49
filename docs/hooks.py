"""What mkdocs is told of this repository: every page keeps its place, so that links hold on the site as on GitHub."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Those that do not lie in docs/.
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that GitHub gives them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Name pages and pictures by their paths from the root, and add the pages that lie elsewhere."""

    def placed(path: str, like: File | None = None) -> File:
        inclusion = {} if like is None else {"inclusion": like.inclusion}
        return File(path, str(ROOT), config.site_dir, config.use_directory_urls, **inclusion)

    folder = Path(config.docs_dir).relative_to(ROOT).as_posix()
    found = [placed(f"{folder}/{one.src_uri}", one) if one.src_dir == config.docs_dir else one for one in files]
    return Files([*found, *map(placed, PAGES)])


def slug(text: str, separator: str) -> str:
    """The anchor of a heading: its words in lower case, without punctuation, between separators."""
    found = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", separator)
    # The theme's scripts stop at an anchor that is no selector; GitHub's begins with the digit.
    return f"_{found}" if found[:1].isdigit() else found
