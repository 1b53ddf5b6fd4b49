"""Which shards make up which database: the defence's, for every size, and the attackers'.

Everything is a union of shards of a pool's one seeded order, so an attacker's database of the first images, or one that
shares an exact part with the defence's, costs no index of its own (Dubey et al. 2019, §6.2). Shards are searched in
spans: one pass over several of them lists the nearest behind every size that ends within.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nndefense.axes.shards import Shard, shard_ranges
from nndefense.axes.threat import AttackDatabase

# Rows without end, where a configuration sets no limit.
UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Databases:
    """The databases of one pool.

    Attributes:
        pool: its name.
        sizes: of the defence's databases, ascending.
        overlaps: shares of attackers' databases as large as the largest that the defence's holds too; empty where the
            pool is not attacked.
        ends: sizes behind which a span ends, so that a larger size that is added leaves it alone; the largest always.
        sample: first rows, whose features are kept for the PCA: no shard has rows within and behind.
        shard_rows: at most in a shard.
        span_rows: at most in a span of several shards.
    """

    pool: str
    sizes: tuple[int, ...]
    overlaps: tuple[float, ...] = ()
    ends: tuple[int, ...] = ()
    sample: int = UNLIMITED
    shard_rows: int = UNLIMITED
    span_rows: int = UNLIMITED

    @property
    def shards(self) -> list[Shard]:
        """Shards of the defence's largest database."""
        return self._cut(0, self._stops())

    @property
    def every(self) -> list[Shard]:
        """All shards, those that only attackers have last."""
        return [*self.shards, *self._reserve()]

    @property
    def spans(self) -> list[Shard]:
        """Rows of shards that are searched together: of the defence's largest database, then what only attackers have.

        Those are as their shards are: they are asked about the clean images alone.
        """
        found, start, end = [], 0, 0
        for first, stop in self.shards:
            if stop - start > self.span_rows and first > start:
                found.append((start, first))
                start = first
            end = stop
            if stop in self.ends:
                found.append((start, stop))
                start = stop
        return found + ([(start, end)] if start < end else []) + self._reserve()

    def within(self, span: Shard) -> list[Shard]:
        """Shards of a span."""
        return [one for one in self.every if span[0] <= one[0] and one[1] <= span[1]]

    def stops(self, span: Shard) -> list[int]:
        """Rows of a span behind which the nearest are listed, ascending: where a database ends, and its last."""
        return sorted({*(one for one in self._stops() if span[0] < one <= span[1]), span[1]})

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

    def lists_of(self, database: AttackDatabase) -> list[tuple[Shard, int]]:
        """Spans that cover an attacker's database, and the stop up to which each belongs to it."""
        shards = self.shards_of(database)
        inside = {span: [stop for start, stop in shards if span[0] <= start and stop <= span[1]] for span in self.spans}
        return [(span, max(stops)) for span, stops in inside.items() if stops]

    def _stops(self) -> list[int]:
        """Where databases end: at the sizes, and where overlaps do."""
        return sorted({*self.sizes, *(self._shared(one) for one in self.overlaps)} - {0})

    def _reserve(self) -> list[Shard]:
        """Shards behind the defence's database, which only attackers have."""
        size = self.sizes[-1]
        cuts = sorted({size - self._shared(one) for one in self.overlaps} - {0})
        return self._cut(size, [size + one for one in cuts]) if cuts else []

    def _cut(self, start: int, stops: Sequence[int]) -> list[Shard]:
        """Shards from a row on that end at these stops, at the end of the sample, and where they get too long."""
        last = stops[-1]
        cuts = {*stops, *([self.sample] if start < self.sample < last else [])}
        cuts |= set(range((start // self.shard_rows + 1) * self.shard_rows, last, self.shard_rows))
        return [(start + low, start + high) for low, high in shard_ranges(sorted(one - start for one in cuts))]

    def _shared(self, overlap: float) -> int:
        return round(overlap * self.sizes[-1])
