"""Which shards make up which database: the defence's, for every size, and the attacker's.

Everything is a union of shards of a pool's one seeded order, so an attacker's database of the first images, or one that
shares an exact part with the defence's, costs no index of its own (Dubey et al. 2019, §6.2).
"""

from collections.abc import Mapping
from typing import Any

from nndefense.database.shards import Shard, shard_name, shard_ranges
from nndefense.errors import ConfigError


class Databases:
    """Shards of the pools of a validated configuration."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._white_box = config["attacks"]["white_box"]
        if self._white_box:
            self._check()

    def sizes(self, pool: str) -> list[int]:
        """Database sizes of a pool, ascending."""
        return sorted(self._config["pools"][pool].get("sizes", self._config["sizes"]))

    def shards(self, pool: str) -> list[Shard]:
        """Shards of the defence's database: cut at its sizes, and where the attacker's overlaps end."""
        cuts = set(self.sizes(pool))
        if self._white_box and pool == self._white_box["pool"]:
            cuts |= {self._shared(overlap) for overlap in self._white_box["overlaps"]} - {0}
        return shard_ranges(sorted(cuts))

    @property
    def whole(self) -> str:
        """Name of the attacker's database that equals the defence's largest."""
        return f"{self._white_box['pool']}-{self._size()}"

    def attack_databases(self) -> list[str]:
        """The attacker's databases by name: prefixes POOL-SIZE, and POOL-SIZE-overlap-SHARE."""
        pool = self._white_box["pool"]
        prefixes = [f"{pool}-{size}" for size in sorted({*self._white_box["sizes"], self._size()})]
        return prefixes + [f"{self.whole}-overlap-{overlap}" for overlap in self._white_box["overlaps"] if overlap < 1]

    def attack_shards(self, name: str) -> list[str]:
        """Shards of an attacker's database, by name.

        With an overlap of o, n images: the first o n of the defence's, and (1 - o) n of the pool's images behind it.
        """
        size = self._size()
        if "-overlap-" not in name:
            stop = int(name.rpartition("-")[2])
            return [shard_name(one) for one in self.shards(self._white_box["pool"]) if one[1] <= stop]
        shared = self._shared(float(name.rpartition("-")[2]))
        inside = [one for one in self.shards(self._white_box["pool"]) if one[1] <= shared]
        outside = [one for one in self._reserve() if one[1] <= 2 * size - shared]
        return [shard_name(one) for one in inside + outside]

    def _reserve(self) -> list[Shard]:
        """Shards behind the defence's database, which only attackers have."""
        size = self._size()
        cuts = {size - self._shared(overlap) for overlap in self._white_box["overlaps"]} - {0}
        return [(size + start, size + stop) for start, stop in shard_ranges(sorted(cuts))] if cuts else []

    def _size(self) -> int:
        return self.sizes(self._white_box["pool"])[-1]

    def _shared(self, overlap: float) -> int:
        return round(overlap * self._size())

    def _check(self) -> None:
        pool = self._white_box["pool"]
        if pool not in self._config["pools"]:
            known = ", ".join(self._config["pools"])
            raise ConfigError(f"attacks.white_box.pool: {pool!r} is unknown; allowed: {known}")
        sizes = self.sizes(pool)
        if strangers := [size for size in self._white_box["sizes"] if size not in sizes]:
            raise ConfigError(
                f"attacks.white_box.sizes: {strangers[0]} is no size of pool {pool}; "
                f"allowed: {', '.join(map(str, sizes))}"
            )
        for overlap in self._white_box["overlaps"]:
            if abs(overlap * sizes[-1] - self._shared(overlap)) > 1e-6:
                raise ConfigError(
                    f"attacks.white_box.overlaps: {overlap} of {sizes[-1]} images is no whole number of images"
                )
