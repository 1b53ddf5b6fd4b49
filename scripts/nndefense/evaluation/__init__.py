"""Evaluation kinds: how the answers of a system become result rows. Adding one: a file here and a line in KINDS.

Rows of every kind have the columns of `nndefense.evaluation.rows.AXES` and then the kind's own measured ones.
"""

from nndefense.core.registry import Entry

KINDS = {
    "accuracy": Entry("nndefense.evaluation.accuracy:ACCURACY", "Accuracy under attack"),
}
