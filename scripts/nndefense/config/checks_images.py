"""Numbers and sizes of images that sections ask for, against what their sets are known to have."""

from collections.abc import Iterator
from typing import Any

from nndefense.config.base import flat
from nndefense.config.checks_options import check_probes
from nndefense.config.images import told_images
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError

TARS = "webdataset"


def check_images(config: Config) -> None:
    """Raises ConfigError, one line, where sets have too few images, or images of different sizes meet.

    What only a folder or a tar can tell is left to the first job that knows.
    """
    for name, pool in config.pools.items():
        others = [one for one in pool.images if config.images[one].kind != TARS]
        if pool.order == "tars" and others:
            raise ConfigError(f"pools.{name}.order: tars, but {others[0]} has none; allowed: sets of kind {TARS}")
        _check_largest(config, name)
    for key, name, count in _asked(config):
        there = told_images(config.images[name])[0]
        if there is not None and count > there:
            raise ConfigError(f"{key}: {count:,} images of the {there:,} of {name}; allowed: at most these in all")
    for key, names in _together(config):
        sides = {one: side for one in names if (side := told_images(config.images[one])[1])}
        (first, wanted), *rest = sides.items() or [("", 0)]
        for one, own in rest:
            if own != wanted:
                raise ConfigError(f"{key}: {one} has images of {own} pixels, {first} of {wanted}; allowed: one size")


def _check_largest(config: Config, name: str) -> None:
    """The largest database, and as many images behind it as attackers have of their own."""
    pool, white_box = config.pools[name], config.attacks.white_box
    rows = [told_images(config.images[one])[0] for one in pool.images]
    if None in rows:
        return
    largest, there = max(pool.values), sum(rows)
    if largest > there:
        key = "sizes" if pool.sizes == config.sizes else f"pools.{name}.sizes"
        raise ConfigError(f"{key}: {largest} exceeds the {there} images of pool {name}; allowed: at most {there}")
    overlaps = white_box.overlaps if white_box and white_box.pool == name else []
    if overlaps and (needed := 2 * largest - round(min(overlaps) * largest)) > there:
        raise ConfigError(
            f"attacks.white_box.overlaps: {min(overlaps):g} needs {needed:,} images, pool {name} has {there:,}; "
            "allowed: a larger share, or smaller sizes"
        )


def _asked(config: Config) -> Iterator[tuple[str, str, int]]:
    """Keys that ask for so many images of a set, not for as many at most."""
    for name, task in config.retrieval.tasks.items() if config.retrieval else ():
        key, taken = f"retrieval.tasks.{name}", 0
        if task.gallery_count is not None:
            yield f"{key}.gallery_count", task.gallery, task.gallery_count
            taken = task.gallery_count if task.gallery == task.queries else 0
        if task.queries_count is not None:
            yield f"{key}.queries_count", task.queries, task.queries_count + taken


def _together(config: Config) -> Iterator[tuple[str, list[str]]]:
    """Keys that bring images of several sets together, which must be of one size."""
    for name, pool in config.pools.items():
        yield f"pools.{name}.images", [config.queries.images, *pool.images]
    for name, task in config.retrieval.tasks.items() if config.retrieval else ():
        yield f"retrieval.tasks.{name}.queries", [task.gallery, task.queries]
    for name, model in config.models.items():
        if database := getattr(model.train, "database", None):
            yield f"models.{name}.train.database.images", [model.train.images, database.images]
    if config.validation:
        yield "validation.images", [config.queries.images, config.validation.images]


def check_index(config: Config) -> None:
    """Raises ConfigError for search indexes that cannot be, or cannot be trained on the images that there are."""
    index, base = config.index, config.base.pool
    asked: list[tuple[str, Any, list[str]]] = [("index", index, list(config.pools))]
    asked += [(f"index.report.{place}", one, [base]) for place, one in enumerate(index.report)]
    for key, one, pools in asked:
        found = check_probes(key, one.factory, one.probes)
        for pool in pools:
            sample = min(config.features.pca_samples, max(flat(config.pools[pool].sizes)))
            if found.samples > sample:
                raise ConfigError(
                    f"{key}.factory: {one.factory!r} is trained on at least {found.samples:,} images, pool {pool} has "
                    f"{sample:,} for it; allowed: fewer lists or bits"
                )
