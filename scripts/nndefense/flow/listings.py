"""Image sets that changed since they were listed: what is said when the workflow starts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nndefense.core.errors import NNDefenseError


def listing_news(results: str | Path, name: str, options: Mapping[str, Any]) -> str:
    """What to say of a set that was listed and has changed since, "" for nothing.

    Looks at the date of each folder that was noted, and into those of another date; a set that was not listed, or by
    other options, is listed anyway.

    Args:
        results: folder of results.
        name: of the set.
        options: of the set.
    """
    folder = Path(results, "images", name)
    try:
        about = json.loads((folder / "set.json").read_bytes())
        if not about["noted"] or about["options"] != options:
            return ""
        # Takes a while with the libraries that decode images.
        from nndefense.images.description import open_options

        news = open_options(options).news(about["noted"])
    except (OSError, ValueError, LookupError, TypeError, NNDefenseError):
        return ""  # Not listed, or what is wrong is said by the job that needs it.
    return news and (
        f"image set {name} changed since it was listed: {news}. Results are of what was listed then. To take it as it "
        f"is now, delete {folder / 'manifest.parquet'} and rerun: then it is listed anew, and all that is made of its "
        "images is made anew."
    )
