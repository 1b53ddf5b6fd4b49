"""Search engines that read a database block by block: memory follows the block and the lists, never the rows.

ENGINES: each is an `Engine` (`base.py`), which answers several query sets in one pass over the blocks. What is exact:

    exact    float codes, every one compared. On the CPU distances are float32 |q|² + |c|² - 2 q·c, whose last bits
             depend on the shape of the matrix product; here that shape is fixed, so that they depend on the query set
             and the codes alone, for one BLAS and number of threads (two threads split a product). On a torch device
             distances are sums of squared differences, which depend on neither, and it is proven for each query that
             no code outside of the candidates could have been nearer.
    binary   packed sign bits, every one compared; Hamming distances are integers.
    ivf      float codes in the cells of a coarse quantiser that are nearest to the query; the rest is not looked at.
             Distances are exact where the factory stores vectors (`Flat`) and approximate otherwise (`SQ8`, `PQ…`).
             Exact is that shards, however they are cut, answer as one index would.

Adding one: a file here and a line in ENGINES.
"""

from nndefense.core.registry import Entry

ENGINES = {
    "exact": Entry("nndefense.database.engines.exact:Exact", "exact"),
    "binary": Entry("nndefense.database.engines.binary:Binary", "exact, sign bits"),
    "ivf": Entry("nndefense.database.engines.ivf:InvertedFile", "inverted file"),
}
