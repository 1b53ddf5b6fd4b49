"""Every claim of the papers' texts that answers can test."""

from nndefense.report.claims.adaptive import ADAPTIVE_CLAIMS
from nndefense.report.claims.dictionaries import DICTIONARY_CLAIMS, MASKING_CLAIMS
from nndefense.report.claims.figures import FIGURE_CLAIMS
from nndefense.report.claims.judge import Claim
from nndefense.report.claims.racnn import RACNN_CLAIMS
from nndefense.report.claims.retrieval import RETRIEVAL_CLAIMS
from nndefense.report.claims.tables import TABLE_CLAIMS
from nndefense.report.select import layer_depth

# On all test images.
PLAIN_CLAIMS: tuple[Claim, ...] = (
    *TABLE_CLAIMS,
    *sorted(FIGURE_CLAIMS, key=lambda claim: layer_depth(claim.id)[0]),
    *RACNN_CLAIMS,
    *DICTIONARY_CLAIMS,
)
# On the images that were attacked through a defence.
THROUGH_CLAIMS = (*ADAPTIVE_CLAIMS, *MASKING_CLAIMS)
CLAIMS = (*PLAIN_CLAIMS, *THROUGH_CLAIMS, *RETRIEVAL_CLAIMS)
