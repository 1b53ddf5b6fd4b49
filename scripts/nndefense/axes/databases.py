"""Which shards make up which database: the defence's, for every size, and the attackers'.

Everything is a union of shards of a pool's one seeded order, so an attacker's database of the first images, or one that
shares an exact part with the defence's, costs no index of its own (Dubey et al. 2019, §6.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nndefense.axes.shards import Shard, shard_ranges
from nndefense.axes.threat import AttackDatabase


@dataclass(frozen=True)
class Databases:
    """The databases of one pool.

    Attributes:
        pool: its name.
        sizes: of the defence's databases, ascending.
        overlaps: shares of attackers' databases as large as the largest that the defence's holds too; empty where the
            pool is not attacked.
    """

    pool: str
    sizes: tuple[int, ...]
    overlaps: tuple[float, ...] = ()

    @property
    def shards(self) -> list[Shard]:
        """Shards of the defence's largest database: cut at its sizes, and where the attackers' overlaps end."""
        return shard_ranges(sorted({*self.sizes, *(self._shared(one) for one in self.overlaps)} - {0}))

    @property
    def whole(self) -> AttackDatabase:
        """The attacker's database that equals the defence's largest."""
        return AttackDatabase(self.pool, self.sizes[-1])

    def attacked(self, prefixes: Sequence[int]) -> list[AttackDatabase]:
        """The attackers' databases: of the first images (these sizes and the largest), and of every overlap below 1."""
        first = [AttackDatabase(self.pool, size) for size in sorted({*prefixes, self.sizes[-1]})]
        return first + [AttackDatabase(self.pool, self.sizes[-1], one) for one in self.overlaps if one < 1]

    def shards_of(self, database: AttackDatabase) -> list[Shard]:
        """Shards of an attacker's database.

        With an overlap of o, n images: the first o n of the defence's, and (1 - o) n of the pool's images behind it.
        """
        if database.overlap is None:
            return [one for one in self.shards if one[1] <= database.size]
        shared = self._shared(database.overlap)
        inside = [one for one in self.shards if one[1] <= shared]
        return inside + [one for one in self._reserve() if one[1] <= 2 * self.sizes[-1] - shared]

    def _reserve(self) -> list[Shard]:
        """Shards behind the defence's database, which only attackers have."""
        size = self.sizes[-1]
        cuts = {size - self._shared(one) for one in self.overlaps} - {0}
        return [(size + start, size + stop) for start, stop in shard_ranges(sorted(cuts))] if cuts else []

    def _shared(self, overlap: float) -> int:
        return round(overlap * self.sizes[-1])
