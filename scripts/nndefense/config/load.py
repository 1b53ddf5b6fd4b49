"""From what stands in the files to the checked configuration."""

import glob
import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from nndefense.config.checks import check
from nndefense.config.checks_dictionaries import tuned_in_form
from nndefense.config.images import WHOLE
from nndefense.config.messages import one_line
from nndefense.config.plain import check_keys, check_plain, normal
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError
from nndefense.images.tags import SHIPPED


def load_config(raw: Mapping[str, Any]) -> Config:
    """The configuration of what was read from its files, with defaults; `raw` stays as it is.

    Raises:
        ConfigError: one line that names the key, what is wrong, and what is allowed.
    """
    if isinstance(raw, Mapping):
        check_keys(raw)
    try:
        config = Config.model_validate(normal(raw))
    except ValidationError as error:
        raise ConfigError(one_line(error, Config, raw)) from None
    check_plain(normal(raw))
    config = resolved(config)
    check(config)
    defenses = {name: tuned_in_form(one) for name, one in config.defenses.items()}
    return config.model_copy(update={"defenses": defenses})


def resolved(config: Config) -> Config:
    """With the sizes of every pool, the pool of tables and figures, and paths below `data`."""
    pools = {name: pool.model_copy(update={"sizes": pool.sizes or config.sizes}) for name, pool in config.pools.items()}
    several = [name for name, pool in pools.items() if len(pool.values) > 1]
    base = config.base.model_copy(update={"pool": config.base.pool or (several or list(pools))[-1]})
    images = {name: _set_below(config.data, one) for name, one in config.images.items()}
    models = {name: _below(config.data, one, "weights") for name, one in config.models.items()}
    return config.model_copy(update={"base": base, "images": images, "models": models, "pools": pools})


def _set_below(data: str, section: Any) -> Any:
    """An image set, and the set that it is a part of, with their paths below the data folder."""
    if whole := getattr(section, WHOLE, None):
        section = section.model_copy(update={WHOLE: _set_below(data, whole)})
    section = _below(data, _below(data, section, "root"), "pattern")
    return section if getattr(section, "tags", None) in SHIPPED else _below(data, section, "tags")


def _below(data: str, section: Any, key: str) -> Any:
    path = getattr(section, key, None)
    if path is None:
        return section
    folder, path = (os.path.expanduser(os.path.expandvars(part)) for part in (data, path))
    if key == "pattern":
        # What is special to patterns is not in a folder's name: brackets hide it from `glob`, backslashes from braces.
        folder = re.sub(r"([\\{}])", r"\\\1", glob.escape(folder))
    return section.model_copy(update={key: os.path.normpath(os.path.join(folder, path))})
