"""What the configuration asks for, as names of shards, query sets and settings: the rules' only arithmetic.

Imported while Snakemake parses the workflow, so it imports nothing heavy, and not Snakemake either.
"""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nndefense import attacks, images
from nndefense.database.shards import shard_name, shard_ranges
from nndefense.sources import module_file, used_modules

CLEAN = "clean"


class Settings(dict):
    """The one `params` entry of a rule: named values with sorted keys, written as command-line options.

    Snakemake compares the *set* of a rule's params, without their names; as one dictionary, two values that swap
    places are a change. In a shell command `{params.settings}` becomes `--key value ...`; lists are spread out,
    dictionaries become JSON, None and empty lists are left out, and True is a flag.
    """

    def __init__(self, **values: Any) -> None:
        super().__init__(sorted(values.items()))

    def __str__(self) -> str:
        words: list[str] = []
        for key, value in self.items():
            if value is None or value is False or value == []:
                continue
            words.append("--" + key.replace("_", "-"))
            if isinstance(value, dict):
                words.append(json.dumps(value, sort_keys=True))
            elif isinstance(value, list | tuple):
                words += [str(item) for item in value]
            elif value is not True:
                words.append(str(value))
        return shlex.join(words)

    def __format__(self, specification: str) -> str:
        return str(self)


class Plan:
    """Names of everything a validated configuration asks for."""

    def __init__(self, config: Mapping[str, Any], basedir: str | Path) -> None:
        self.config = config
        self._basedir = Path(os.path.relpath(basedir))

    # -- files of the workflow itself

    def script(self, name: str) -> str:
        """Path of a script, relative to the working directory."""
        return str(self._basedir / "scripts" / f"{name}.py")

    def modules(self, script: str, *more: str) -> list[str]:
        """Library files that a script uses, and those of `more` modules (`package.module:Class`)."""
        files = set(used_modules((self._basedir / "scripts" / f"{script}.py").resolve()))
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

    # -- axes

    @property
    def results(self) -> str:
        """Root of this run's files."""
        return "/".join(part for part in ("results", self.config["run"]) if part)

    @property
    def layers(self) -> list[str]:
        """Feature layers."""
        return list(self.config["features"]["layers"])

    def sizes(self, pool: str) -> list[int]:
        """Database sizes of a pool, ascending."""
        return sorted(self.config["pools"][pool].get("sizes", self.config["sizes"]))

    def shards(self, pool: str, rows: int | None = None) -> list[str]:
        """Shards of a pool by name, or only those that begin within its first `rows` images."""
        ranges = shard_ranges(self.sizes(pool))
        return [shard_name(one) for one in ranges if rows is None or one[0] < rows]

    def all_shards(self) -> list[tuple[str, str]]:
        """(pool, shard) of every shard of every pool."""
        return [(pool, shard) for pool in self.config["pools"] for shard in self.shards(pool)]

    @property
    def epsilons(self) -> list[str]:
        """Budgets as they stand in paths."""
        return [str(epsilon) for epsilon in self.config["attacks"]["epsilons"]]

    @property
    def attacked(self) -> list[str]:
        """Attacked query sets by name: space/setting/attack/eps-epsilon."""
        axes = self.config["attacks"]
        return [
            f"{space}/{setting}/{attack}/eps-{epsilon}"
            for space in axes["spaces"]
            for setting in axes["settings"]
            for attack in axes["methods"]
            for epsilon in self.epsilons
        ]

    @property
    def queries(self) -> list[str]:
        """All query sets by name: the clean images first."""
        return [CLEAN, *self.attacked]

    def attacker(self, setting: str) -> str:
        """The model whose gradients an attack uses."""
        return self.config["surrogate"] if setting == "black_box" else self.config["target"]

    def models(self) -> list[str]:
        """The models in use: the target, and the surrogate where it is another one."""
        return list(dict.fromkeys([self.config["target"], self.config["surrogate"]]))

    def trained(self) -> list[str]:
        """Models trained in the workflow."""
        return [name for name, model in self.config["models"].items() if "train" in model]

    def training_set(self, model: str) -> str:
        """The image set that a model is trained on."""
        return self.config["models"][model]["train"]["images"]

    def weights_file(self, model: str) -> list[str]:
        """The file that a model's weights are read from; none where torchvision publishes them.

        A file that is absent is left to the job, which says so: Snakemake takes results that exist for up to date where
        an input of theirs is missing and nothing makes it.
        """
        path = self.config["models"][model].get("weights")
        return [path] if path and os.path.exists(path) else []

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
