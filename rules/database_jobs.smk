"""Inputs and parameters of the rules of the database: features, codes, searches and votes."""

from nndefense.flow.resources import index_memory, search_memory, searches_on_gpu

# What a search on a GPU asks for, and is told.
SEARCH_GPU = {"gpu": searches_on_gpu(CONFIG)} if searches_on_gpu(CONFIG) else {}
SEARCH_WORDS = " --gpus {resources.gpu}" if SEARCH_GPU else ""


def pass_word(number):
    """What the names of a pass's rules end in: nothing for the first one."""
    return "_" + re.sub(r"\W", "_", PASSES[number][0]) if number else ""


def store_files(place, *more):
    """Files of softmax rows and of their confidence weights, and others beside them."""
    return [f"<results>/softmax/{place}{end}.npy" for end in ("", ".weights", *(f".{one}" for one in more))]


def shard_inputs(pool="{pool}"):
    """Inputs of a pass over a database shard."""
    return {
        "model": "<results>/models/{model}/model.json",
        "weights": "<results>/models/{model}/weights.safetensors",
        "images": f"<results>/pools/{pool}.parquet",
        "sets": lambda wildcards: pool_sets(getattr(wildcards, "pool", pool), "set.json"),
        "manifests": lambda wildcards: pool_sets(getattr(wildcards, "pool", pool), "manifest.parquet"),
    }


def sample_files(kind):
    """Files of a kind, by layer, of the shards that hold the images that a PCA is fitted on."""
    return lambda wildcards: [
        f"<results>/{kind}/{wildcards.model}/{wildcards.layer}/{wildcards.pool}/{shard}.npy"
        for shard in shards_of(CONFIG, wildcards.pool, CONFIG.features.pca_samples)
    ]


def span_files(name):
    """Files of the shards of a span; name: with wildcards, and {shard}."""
    return lambda wildcards: [
        f"<results>/{name}".format(shard=shard, **wildcards)
        for shard in shards_within(CONFIG, wildcards.pool, wildcards.span)
    ]


def searched_files(wildcards):
    """What a search of a span reads: codes, or indexes of an approximate search."""
    approximate = "index/{model}/{layer}/{pool}/{shard}.faiss"
    return span_files(
        approximate if is_indexed(CONFIG, wildcards.layer) else "codes/{model}/{layer}/{pool}/{shard}.npy"
    )(wildcards)


def listed_neighbors(packs):
    """Lists of neighbours in every size, of each pool all packs."""
    return lambda wildcards: [
        f"<results>/neighbors/{layer_place(CONFIG, wildcards.layer)}/{pool}/{neighbors_place(CONFIG, pool)}/{pack}.npz"
        for pool in pools_of(CONFIG, wildcards.layer)
        for pack in packs
    ]


def near_inputs():
    """Inputs that tell which database images are nearly test images, by option; none where these may stay."""
    if CONFIG.queries.leave_out != "near":
        return {}
    return {
        "codes": "<results>/codes/{model}/{layer}/{pool}/{shard}.npy",
        "queries": f"<results>/features/{{model}}/{{layer}}/queries/{CLEAN}.npy",
        "pca": "<results>/pca/{model}/{layer}/{pool}.npz",
    }


def voting(name):
    """Files of the shards of every pool that a layer is evaluated on; name: with {place} of the layer, {pool},
    {shard}, wildcards.
    """
    return lambda wildcards: [
        name.format(pool=pool, shard=shard, place=layer_place(CONFIG, wildcards.layer), **wildcards)
        for pool in pools_of(CONFIG, wildcards.layer)
        for shard in shards_of(CONFIG, pool)
    ]


def vote_values(layer):
    """Parameters of votes, and of what is proven of them."""
    pools = pools_of(CONFIG, layer)
    return {
        "combinations": CONFIG.votes.combinations,
        "k": CONFIG.votes.neighbors,
        "layer": layer,
        "pools": pools,
        "sizes": [CONFIG.pools[pool].values for pool in pools],
        "weightings": CONFIG.votes.weightings,
    }


def search_job(wildcards):
    """Parameters of search_span."""
    return job(
        "search_span",
        neighbors=CONFIG.index.neighbors,
        probes=CONFIG.index.probes if is_indexed(CONFIG, wildcards.layer) else None,
        stops=stops_within(CONFIG, wildcards.pool, wildcards.span),
    )


def search_mb(packs):
    """Memory of a search for packs."""
    return lambda wildcards: search_memory(CONFIG, packs, wildcards.pool, wildcards.span)


def extraction(program, passed, *targets, **values):
    """Parameters of a forward pass that yields these layers, all of one network."""
    network = encoder_of(CONFIG, passed[0]) if passed else TARGET
    common = {
        "batch": CONFIG.features.batch,
        "pooled": pooled_sides(CONFIG, passed) or None,
        **computing_values(CONFIG),
    }
    own = architecture_targets(CONFIG, network)
    return job(program, *own, *targets, layers=list(passed), skip_limit=CONFIG.skip_limit, **common, **values)


def extract_shard(layers, pool=None, **values):
    """Parameters of a pass over a database shard; pool: that of the rule, where it is no wildcard."""
    return lambda wildcards: extraction(
        "extract_features", layers, *pool_targets(pool or wildcards.pool), shard=wildcards.shard, **values
    )


def extract_packs(layers, batch):
    """Parameters of a pass over packs of query sets."""
    return extraction("extract_queries", layers, names=list(map(str, batch.packs)))


def retrieval_job(defense):
    """Parameters of describe_defense for the nearest neighbours, or further ones."""
    layer, options = searched_layers(CONFIG)[defense], defense_options(CONFIG, defense)
    return job(
        "describe_defense",
        dataset=CONFIG.dataset,
        layer=layer,
        neighbors=options.pop("k"),
        pool_name=CONFIG.base.pool,
        pooled=pooled_sides(CONFIG, [layer]) or None,
        **options,
    )
