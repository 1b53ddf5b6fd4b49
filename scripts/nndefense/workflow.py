"""What the configuration asks for, as names of shards, query sets and settings: the rules' only arithmetic.

Imported while Snakemake parses the workflow, so it imports nothing heavy, and not Snakemake either.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nndefense import attacks, defenses, images
from nndefense.database.plan import Databases
from nndefense.database.shards import shard_name
from nndefense.linf_plan import LinfPlan
from nndefense.models.architectures import architecture_entry
from nndefense.report_plan import ReportPlan
from nndefense.sources import module_file, used_modules
from nndefense.training_plan import TrainingPlan

CLEAN = "clean"
BUILD = module_file("nndefense.models.build")


class Plan:
    """Names of everything a validated configuration asks for."""

    def __init__(self, config: Mapping[str, Any], basedir: str | Path) -> None:
        self.config = config
        self.databases = Databases(config)
        self.training = TrainingPlan(config)
        self.linf = LinfPlan(config)
        self.report = ReportPlan(self)
        self._basedir = Path(os.path.relpath(basedir))

    # -- files of the workflow itself

    def script(self, name: str) -> str:
        """Path of a script, relative to the working directory."""
        return str(self._basedir / "scripts" / f"{name}.py")

    def modules(self, script: str, *more: str) -> list[str]:
        """Library files that a script uses, and those of `more` modules (`package.module:Class`).

        A script that builds networks uses the modules of the configured architectures, too.
        """
        files = set(used_modules((self._basedir / "scripts" / f"{script}.py").resolve()))
        if BUILD in files:
            used = [self.config["models"][model]["architecture"] for model in self.models()]
            more = (*more, *map(architecture_entry, used))
        for name in more:
            file = module_file(name.partition(":")[0])
            if file is None:
                raise ValueError(f"registry entry {name!r} names no module of the library")
            files |= {file, *used_modules(file)}
        return sorted(os.path.relpath(file) for file in files)

    def image_modules(self, *sets: str) -> list[str]:
        """Registry entries of the kinds of these image sets."""
        return sorted({images.KINDS[self.config["images"][name]["kind"]] for name in sets})

    def pool_modules(self, pool: str) -> list[str]:
        """Registry entries of the kinds of image sets that a pool draws from."""
        return self.image_modules(*self.config["pools"][pool]["images"])

    def attack_module(self, attack: str) -> str:
        """Registry entry of an attack."""
        return attacks.ATTACKS[attack]

    def attack_modules(self, wildcards: Any) -> list[str]:
        """Registry entries of an attack and of the network whose gradients it uses."""
        return [self.attack_module(wildcards.attack), *self.network_modules(self.attacker(wildcards.setting))]

    # -- axes

    @property
    def results(self) -> str:
        """Root of this run's files."""
        return "/".join(part for part in ("results", self.config["run"]) if part)

    @property
    def layers(self) -> list[str]:
        """Feature layers."""
        return list(self.config["features"]["layers"])

    @property
    def plain_layers(self) -> list[str]:
        """Feature layers that are pooled by averaging."""
        return [layer for layer in self.layers if not layer.endswith("-RMAC")]

    @property
    def main_pool(self) -> str:
        """The pool that figures of one database show: the last of those with most sizes."""
        return max(reversed(self.config["pools"]), key=lambda pool: len(self.sizes(pool)))

    def sizes(self, pool: str) -> list[int]:
        """Database sizes of a pool, ascending."""
        return sorted(self.config["pools"][pool].get("sizes", self.config["sizes"]))

    def shards(self, pool: str, rows: int | None = None) -> list[str]:
        """Shards of a pool by name, or only those that begin within its first `rows` images."""
        ranges = self.databases.shards(pool)
        return [shard_name(one) for one in ranges if rows is None or one[0] < rows]

    @property
    def epsilons(self) -> list[str]:
        """Budgets as they stand in paths."""
        return [str(epsilon) for epsilon in self.config["attacks"]["epsilons"]]

    @property
    def plain_attacks(self) -> list[str]:
        """Attacks that do not know of the defence."""
        return [attack for attack in self.config["attacks"]["methods"] if attack not in attacks.AWARE]

    def query_set(self, setting: str, attack: str, epsilon: Any, space: str | None = None) -> str:
        """Name of an attacked query set."""
        return f"{space or self.config['base']['space']}/{setting}/{attack}/eps-{epsilon}"

    @property
    def unaware(self) -> list[str]:
        """Query sets attacked in the gray-box and black-box settings."""
        return [
            self.query_set(setting, attack, epsilon, space)
            for space in self.config["attacks"]["spaces"]
            for setting in self.config["attacks"]["settings"]
            for attack in self.plain_attacks
            for epsilon in self.epsilons
        ]

    @property
    def aware(self) -> list[str]:
        """Query sets attacked in the white-box setting: all budgets with the whole database, one with the others."""
        white_box = self.config["attacks"]["white_box"]
        if not white_box:
            return []
        base, whole = self.config["base"]["epsilon"], self.databases.whole
        methods = [attack for attack in self.config["attacks"]["methods"] if attack in attacks.AWARE]
        cells = [(whole, attack, epsilon) for attack in methods for epsilon in self.epsilons]
        cells += [(name, white_box["ablated"], base) for name in self.databases.attack_databases() if name != whole]
        return [self.query_set(f"white_box-{name}", attack, epsilon) for name, attack, epsilon in cells]

    @property
    def queries(self) -> list[str]:
        """All query sets by name: the clean images first."""
        return [CLEAN, *self.unaware, *self.aware]

    def queries_of(self, layer: str) -> list[str]:
        """Query sets that a layer is evaluated on; white-box attacks are made for the base layer."""
        return self.queries if layer == self.config["base"]["features"] else [CLEAN, *self.unaware]

    def pools_of(self, layer: str) -> list[str]:
        """Pools that a layer is evaluated on."""
        chosen = self.config["features"]["ablation_pools"]
        if chosen is None or layer == self.config["base"]["features"]:
            return list(self.config["pools"])
        return [pool for pool in self.config["pools"] if pool in chosen]

    def parts(self, layers: Iterable[str], queries: Iterable[str], kind: str = "accuracy") -> list[str]:
        """Accuracy files (or, of another kind, predictions) of the model itself and of layers, for some query sets.

        The base layer comes first: it is evaluated on all pools, so their order is the configuration's.
        """
        suffix = {"accuracy": "csv", "predictions": "npz"}[kind]
        queries = list(queries)
        layers = sorted(layers, key=lambda layer: layer != self.config["base"]["features"])
        return [
            f"<results>/{kind}/{self.config['target']}/{layer}/{name}.{suffix}"
            for layer in ("undefended", *layers)
            for name in queries
            if layer == "undefended" or name in self.queries_of(layer)
        ]

    def queries_under(self, *names: str) -> list[str]:
        """The clean query set, and those of the named attacks in the gray-box and black-box settings, base space."""
        space = self.config["base"]["space"]
        return [CLEAN, *(one for one in self.unaware if one.split("/")[0] == space and one.split("/")[2] in names)]

    def stores(self, layer: str, suffix: str) -> list[str]:
        """Softmax stores of the shards that a layer is evaluated on."""
        return [
            f"<results>/softmax/{{model}}/{pool}/{shard}{suffix}"
            for pool in self.pools_of(layer)
            for shard in self.shards(pool)
        ]

    # -- defences without a database

    def defense_module(self, defense: str) -> str:
        """Registry entry of a defence."""
        return defenses.DEFENSES[defense]

    def patches(self, defense: str) -> list[str]:
        """The patches that a defence needs; none for most."""
        if defense not in defenses.PATCHED:
            return []
        return [f"<results>/patches/{self.config['patches']['images']}.npy"]

    def defending_model(self, defense: str) -> str:
        """The network that a defence asks: the target, or one of its own."""
        return self.config["defenses"][defense].get("model", self.config["target"])

    def base_queries(self) -> list[str]:
        """Query sets of table 2: clean, and the base attack at the base budget in all settings and spaces."""
        base, attacked = self.config["base"], self.config["attacks"]
        spaces = sorted(attacked["spaces"], key=lambda space: space != base["space"])
        names = [
            self.query_set(setting, base["attack"], base["epsilon"], space)
            for space in spaces
            for setting in attacked["settings"]
        ]
        return [CLEAN, *names]

    def own_queries(self, defense: str) -> list[str]:
        """Query sets attacked with the gradients of a retrained defence itself; none for the others."""
        if defense not in defenses.RETRAINED or "gray_box" not in self.config["attacks"]["settings"]:
            return []
        return [self.query_set(f"gray_box-{defense}", self.config["base"]["attack"], self.config["base"]["epsilon"])]

    def defended_parts(self, kind: str) -> list[str]:
        """Accuracy or prediction files of the defences, for the query sets of table 2."""
        suffix = {"accuracy": "csv", "predictions": "npz"}[kind]
        return [
            f"<results>/{kind}/{self.config['target']}/{defense}/{name}.{suffix}"
            for defense in self.config["defenses"]
            for name in [*self.base_queries(), *self.own_queries(defense)]
        ]

    # -- white-box attacks

    def direction(self, attack: str) -> list[str]:
        """The directions that an attack scales; none for attacks that depend on the budget throughout."""
        if attack not in attacks.DIRECTED:
            return []
        return [f"<results>/attacks/{{space}}/{{setting}}/{attack}/direction.npz"]

    def attacker_files(self, database: str, kind: str, name: str) -> list[str]:
        """Files of the shards of an attacker's database; `name` is a pattern with {shard}."""
        pool, layer = self.config["attacks"]["white_box"]["pool"], self.config["base"]["features"]
        folder = "/".join([kind, self.config["target"], *([] if kind == "softmax" else [layer]), pool])
        return [f"<results>/{folder}/{name.format(shard=shard)}" for shard in self.databases.attack_shards(database)]

    def white_box_pca(self) -> str:
        """The PCA that the attacked defence searches with."""
        pool = self.config["attacks"]["white_box"]["pool"]
        return f"<results>/pca/{self.config['target']}/{self.config['base']['features']}/{pool}.npz"

    def white_box_sets(self) -> list[str]:
        """Descriptions of the image sets of the attacked pool."""
        names = self.config["pools"][self.config["attacks"]["white_box"]["pool"]]["images"]
        return [f"<results>/images/{name}/set.json" for name in names]

    def white_box_image_modules(self) -> list[str]:
        """Registry entries of the kinds of image sets of the attacked pool."""
        return self.pool_modules(self.config["attacks"]["white_box"]["pool"])

    # -- models

    def attacker(self, setting: str) -> str:
        """The model whose gradients an attack uses."""
        _, _, defense = setting.partition("-")
        if defense:
            return self.defending_model(defense)
        return self.config["surrogate"] if setting == "black_box" else self.config["target"]

    def network_modules(self, model: str) -> list[str]:
        """Registry entries of a model's architecture, and of the one it is built on."""
        settings = self.config["models"][model]
        inner = settings.get("train", {}).get("extractor")
        return [architecture_entry(settings["architecture"]), *(self.network_modules(inner) if inner else [])]

    def models(self) -> list[str]:
        """The models in use: the target, and the surrogate where it is another one."""
        return list(dict.fromkeys([self.config["target"], self.config["surrogate"]]))

    def trained(self, *methods: str) -> list[str]:
        """Models trained in the workflow; only by these methods where some are named."""
        recipes = {name: model["train"] for name, model in self.config["models"].items() if "train" in model}
        return [name for name, recipe in recipes.items() if not methods or recipe["method"] in methods]

    def curves(self) -> list[str]:
        """Histories of the networks that are trained for this run."""
        used = [*self.models(), *map(self.defending_model, self.config["defenses"]), *self.linf.networks]
        return [f"<results>/models/{name}/training.csv" for name in self.training.trained(used)]

    def training_set(self, model: str) -> str:
        """The image set that a model is trained on."""
        return self.config["models"][model]["train"]["images"]

    def retrieval_set(self, model: str) -> str:
        """The image set that a retrieval-augmented model takes its neighbours from."""
        return self.config["models"][model]["train"]["database"]["images"]

    def weights_file(self, model: str) -> list[str]:
        """The file that a model's weights are read from; none where torchvision publishes them.

        A file that is absent is left to the job, which says so: Snakemake takes results that exist for up to date where
        an input of theirs is missing and nothing makes it.
        """
        path = self.config["models"][model].get("weights")
        return [path] if path and os.path.exists(path) else []

    # -- tables and figures: see also `self.report`

    def library_file(self, name: str) -> str:
        """Path of a data file of the library, relative to the working directory."""
        return str(self._basedir / "scripts" / "nndefense" / name)

    # -- layers that share a forward pass

    def first_pass(self) -> list[str]:
        """Layers extracted together with the softmax row; a layer configured later gets a pass of its own.

        The first real run notes its layers in a ledger, so that a layer added afterwards touches no file that exists.
        """
        ledger = self.ledger()
        if ledger.exists():
            return json.loads(ledger.read_text(encoding="utf-8"))
        return self.layers

    def ledger(self) -> Path:
        """The note of the layers of the first pass."""
        return Path(self.results, "features", self.config["target"], "first_pass.json")
