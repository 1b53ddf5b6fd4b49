"""Parameters of jobs that list image sets; looking at those that are listed, they say what has changed since."""

from functools import cache

from snakemake.logging import logger

from nndefense.flow.listings import listing_news


@cache
def tell_listing_news(name):
    """Warn, once, that an image set changed since it was listed."""
    if news := listing_news(RESULTS, name, CONFIG.images[name].model_dump()):
        logger.warning(news)


def listing_job(wildcards):
    """Parameters of list_images; asked for whenever a set is needed, they are where to look at those that are listed."""
    tell_listing_news(wildcards.set)
    return job(
        "list_images",
        *image_targets(CONFIG, wildcards.set),
        image_set=CONFIG.images[wildcards.set].model_dump(),
        name=wildcards.set,
    )
