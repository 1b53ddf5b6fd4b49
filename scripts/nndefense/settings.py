"""The parameters of a rule, as one value."""

import json
import shlex
from typing import Any


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
