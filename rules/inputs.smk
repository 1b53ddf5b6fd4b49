"""Inputs of rules that depend on their wildcards: files of models, image sets, packs of query sets and shards."""

# Snakemake takes what stands between them in an input for a wildcard, and has no way to write them otherwise.
BRACES = set("{}")


def recipe(wildcards):
    """How a model is trained."""
    return CONFIG.models[wildcards.model].train


def set_file(name, file):
    """A file of an image set."""
    return f"<results>/images/{name}/{file}"


def descriptions(names):
    """Descriptions of models, none for none."""
    names = [names] if isinstance(names, str) else names or []
    return [f"<results>/models/{name}/model.json" for name in names]


def model_files(name):
    """What a model is opened from."""
    return [f"<results>/models/{name}/model.json", f"<results>/models/{name}/weights.safetensors"]


def starting_weights(wildcards):
    """Weights of the models that a model is trained from."""
    return [f"<results>/models/{name}/weights.safetensors" for name in CONFIG.models[wildcards.model].trained_from]


def weights_file(wildcards):
    """The file that a model's weights are read from; none where torchvision publishes them.

    A file that is absent is left to the job, which says so: Snakemake takes results that exist for up to date where an
    input of theirs is missing and nothing makes it. So is one with braces in its path, see `loading_job`.
    """
    path = CONFIG.models[wildcards.model].weights
    return [path] if path and os.path.exists(path) and not BRACES & set(path) else []


def loading_job(wildcards):
    """Parameters of load_model; with them, what tells another file of weights where Snakemake cannot watch the file."""
    model = CONFIG.models[wildcards.model]
    found = job(
        "load_model",
        *architecture_targets(CONFIG, wildcards.model),
        classes=CONFIG.classes,
        model=model.model_dump(),
        name=wildcards.model,
    )
    if model.weights and os.path.exists(model.weights) and not weights_file(wildcards):
        facts = os.stat(model.weights)
        found.code += f" {facts.st_size} {facts.st_mtime_ns}"
    return found


def attacker(wildcards, file):
    """A file of the network whose gradients an attack follows."""
    return f"<results>/models/{attacked_model(CONFIG, Threat.parse(wildcards.threat))}/{file}"


def attack_pack(wildcards):
    """The pack that a job makes."""
    return Pack.parse(f"{wildcards.ball}/{wildcards.threat}/{wildcards.attack}/eps-{wildcards.budgets}")


def worst_pack(wildcards):
    """The pack that a search for the worst case makes."""
    return Pack.parse(f"{wildcards.ball}/{wildcards.threat}/{WORST}/eps-{wildcards.budgets}")


def stored_packs(wildcards):
    """Packs of attacked images that a defence is tried on before it is attacked."""
    packs = tried_packs(CONFIG, worst_pack(wildcards).threat.defense)
    return dict.fromkeys(file_of(CONFIG, pack) for pack in packs)


# Folder of the rows that are not searched: those without a code, and test images where the configuration says so.
LEFT_OUT = "skipped" if CONFIG.queries.leave_out == "nothing" else "left_out"


def deployed_shards(shards, layer=None):
    """Files of the retrieval by the base values, or by another layer, from a database of these shards."""
    layer = layer or CONFIG.base.features
    places = {"place": layer_place(CONFIG, layer), "pool": CONFIG.base.pool, "model": TARGET}
    parts = {
        "codes": "<results>/codes/{place}/{pool}/{shard}.npy",
        "skipped": f"<results>/{LEFT_OUT}/{{place}}/{{pool}}/{{shard}}.npy",
        "softmax": "<results>/softmax/{model}/{pool}/{shard}.npy",
        "confidences": "<results>/softmax/{model}/{pool}/{shard}.weights.npy",
        "checks": "<results>/softmax/{model}/{pool}/{shard}.checks.npy",
        "pixels": "<results>/softmax/{model}/{pool}/{shard}.pixels.npy",
    }
    if is_indexed(CONFIG, layer):
        parts["index"] = "<results>/index/{place}/{pool}/{shard}.faiss"
    found = {name: [path.format(shard=shard, **places) for shard in shards] for name, path in parts.items()}
    return (
        {"index": []}
        | found
        | {
            "model": f"<results>/models/{TARGET}/model.json",
            "weights": f"<results>/models/{TARGET}/weights.safetensors",
            "encoder": model_files(encoder_of(CONFIG, layer)) if encoder_of(CONFIG, layer) != TARGET else [],
            "pca": "<results>/pca/{place}/{pool}.npz".format(**places),
            "pool": f"<results>/pools/{CONFIG.base.pool}.parquet",
            "sets": [f"<results>/images/{name}/set.json" for name in CONFIG.pools[CONFIG.base.pool].images],
            "task": f"<results>/images/{CONFIG.queries.images}/set.json",
        }
    )


def knowledge_files(name):
    """Files of the shards of an attacker's database; name: with {pool}, {shard}, and {model} or {place} of the layer."""

    def files(wildcards):
        database = AttackDatabase.parse(wildcards.database)
        return [
            f"<results>/{name}".format(
                pool=database.pool, place=layer_place(CONFIG, CONFIG.base.features), model=TARGET, shard=shard
            )
            for shard in attacker_shards(CONFIG, database)
        ]

    return files


def knowledge_lists(wildcards):
    """The clean images' neighbours in the spans of an attacker's database."""
    database = AttackDatabase.parse(wildcards.database)
    place = f"<results>/neighbors/{layer_place(CONFIG, CONFIG.base.features)}/{database.pool}"
    return [f"{place}/{span}/clean.npz" for span, _ in attacker_lists(CONFIG, database)]


def attack_file(pack):
    """The file that holds a pack's images."""
    return f"<results>/attacks/{file_of(CONFIG, pack)}.npz"


def deployed_model(wildcards, file):
    """A file of the network that a deployed defence asks."""
    return f"<results>/models/{asked_network(wildcards.defense)}/{file}"


def system_needs(wildcards):
    """What a defence needs to answer images that are of no pack of this run, so that none of its answers are stored."""
    pack = Pack.parse(f"{CONFIG.base.space}/gray_box/submitted/eps-0")
    return defense_needs(CONFIG, wildcards.defense, pack)
