"""FAISS factory strings that are accepted, read without FAISS.

Accepted is what engines can do everything with: train it, clone it, fill a clone for each shard, write and read it.
FAISS knows more strings, and crashes on some of them: `IVF…,PQ…x4fs` is cloned into memory that it does not own.
"""

import re
from dataclasses import dataclass

from nndefense.core.errors import ConfigError

_NUMBER = "[1-9][0-9]{0,6}"
_TRANSFORM = rf"(?:PCA(?:R|W|WR)?{_NUMBER}|RR{_NUMBER}|OPQ{_NUMBER}(?:_{_NUMBER})?)"
_SCALAR = "Flat|SQ(?:4|6|8|fp16|bf16)"
_CODE = rf"(?:{_SCALAR}|PQ{_NUMBER}(?:x[1-8])?(?:np)?|RQ{_NUMBER}x[1-8])"
_GRAPH = rf"HNSW{_NUMBER}(?:[,_](?:{_SCALAR}))?"
_LISTS = rf"IVF(?P<lists>{_NUMBER})(?:_HNSW{_NUMBER})?"
_FORM = re.compile(rf"(?:{_TRANSFORM},)*(?:(?:{_LISTS},)?{_CODE}(?:,RFlat)?|{_GRAPH})")
_BITS = re.compile(r"(?:PQ|RQ)\d+(?:x(\d))?")
ACCEPTED = (
    "PCAd, PCARd, PCAWd, PCAWRd, RRd, OPQm or OPQm_d, then IVFn or IVFn_HNSWm, then a code, Flat, SQ4, SQ6, SQ8, "
    "SQfp16, SQbf16, PQm[xb][np] or RQmxb with b from 1 to 8, then RFlat, with commas, only the code needed; or HNSWm"
)


@dataclass(frozen=True)
class Factory:
    """What a factory string asks for.

    Attributes:
        text: the string.
        lists: of its inverted file; 0 without one.
        samples: codes that it needs at least to be trained.
    """

    text: str
    lists: int
    samples: int

    @classmethod
    def parse(cls, text: str) -> "Factory":
        """Raises ConfigError for a string that is not accepted."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ConfigError(f"{text[:60]!r} is no index that can be built shard by shard; allowed: {ACCEPTED}")
        lists = int(found["lists"] or 0)
        # Words of b bits, 8 where it is not said; those of OPQ's own quantiser, too.
        words = [1 << int(bits or 8) for bits in _BITS.findall(text)]
        return cls(text, lists, max([1, lists, *words]))
