"""Search engines that read a database block by block: memory follows the block and the lists, never the rows.

Each is an `Engine` (`base.py`), which answers several query sets in one pass over the blocks. What is exact:

    exact    float codes, every one compared. On the CPU distances are float32 |q|² + |c|² - 2 q·c, whose last bits
             depend on the shape of the matrix product; here that shape is fixed, so that they depend on the query set
             and the codes alone, for one BLAS and number of threads (two threads split a product). On a torch device
             distances are sums of squared differences, which depend on neither, and it is proven for each query that
             no code outside of the candidates could have been nearer.
    binary   packed sign bits, every one compared; Hamming distances are integers.
    trained  an index that FAISS trains on a sample: an inverted file looks only at the lists that are nearest to the
             query, and distances are those of short forms of the codes (`SQ8`, `PQ…`) or exact (`IVF…,Flat`). Exact is
             that shards, however they are cut, answer as one index would.
"""

# The factory string of an exact search, which has no index: the codes are compared.
EXACT = "Flat"
