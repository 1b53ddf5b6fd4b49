"""The parameters of a rule, as one value that is also the command its job runs."""

import json
import shlex
from typing import Any


class Params(dict):
    """The one `params` entry of a rule: named values with sorted keys, for a script and the code that it can reach.

    Snakemake compares the *set* of a rule's params by their `repr`, without names; as one dictionary, two values that
    swap places are a change. The `repr` holds the values and the fingerprint of the code, not the script's place. In a
    shell command `{params.job}` becomes `SCRIPT --key value ...`; lists are spread out, dictionaries become JSON, None
    and empty lists are left out, and True is a flag.
    """

    def __init__(self, script: str, code: str, **values: Any) -> None:
        super().__init__(sorted(values.items()))
        self.script, self.code = script, code

    def __repr__(self) -> str:
        return f"{self.code} {json.dumps(self, sort_keys=True, default=str)}"

    def __str__(self) -> str:
        words: list[str] = [self.script]
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
