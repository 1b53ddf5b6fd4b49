"""Evaluation kinds: how the answers of a system become result rows. Adding one: a file here and a line in KINDS.

Summaries, in SUMMARIES, are made of a system's answers to all its query sets together. All rows have the columns of
`nndefense.evaluation.rows.AXES` and then their kind's own measured ones.
"""

from nndefense.core.plugins import plugins
from nndefense.core.registry import Entry

KINDS = {
    "accuracy": Entry("nndefense.evaluation.accuracy:ACCURACY", "Accuracy under attack"),
}
SUMMARIES = {
    "accuracy_worst": Entry("nndefense.evaluation.worst:WORST_CASE", "Accuracy in the worst case"),
    "attack_breaks": Entry("nndefense.evaluation.worst:BREAKS", "What each attack breaks"),
}
KINDS |= plugins("evaluations", KINDS)
SUMMARIES |= plugins("summaries", SUMMARIES)
