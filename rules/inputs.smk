"""Inputs of rules that depend on their wildcards: files of models, image sets, packs of query sets and shards."""


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


def starting_weights(wildcards):
    """Weights of the models that a model is trained from."""
    return [f"<results>/models/{name}/weights.safetensors" for name in CONFIG.models[wildcards.model].trained_from]


def weights_file(wildcards):
    """The file that a model's weights are read from; none where torchvision publishes them.

    A file that is absent is left to the job, which says so: Snakemake takes results that exist for up to date where an
    input of theirs is missing and nothing makes it.
    """
    path = CONFIG.models[wildcards.model].weights
    return [path] if path and os.path.exists(path) else []


def attacker(wildcards, file):
    """A file of the network whose gradients an attack follows."""
    return f"<results>/models/{attacked_model(CONFIG, Threat.parse(wildcards.threat))}/{file}"


def attack_pack(wildcards):
    """The pack that a job makes."""
    return Pack.parse(f"{wildcards.ball}/{wildcards.threat}/{wildcards.attack}/eps-{wildcards.budgets}")


def knowledge_files(name):
    """Files of the shards of an attacker's database; name: with {folder} for pool (and layer) and {shard}."""

    def files(wildcards):
        database = AttackDatabase.parse(wildcards.database)
        return [
            f"<results>/{name}".format(pool=database.pool, layer=CONFIG.base.features, model=TARGET, shard=shard)
            for shard in attacker_shards(CONFIG, database)
        ]

    return files


def queries_file(wildcards):
    """The file that holds a pack's images."""
    return f"<results>/attacks/{file_of(CONFIG, packed(wildcards))}.npz"
