"""Prediction from neighbours: confidence weights, votes, accuracy rows. NumPy only.

WEIGHTINGS: name -> function of softmax rows (n, C) to weights (n,). All but UW are stored beside the softmax
rows, as columns in this order. Adding a weighting: a function and a line here.
"""

WEIGHTINGS = {
    "UW": "nndefense.retrieval.weights:uniform",
    "CBW-E": "nndefense.retrieval.weights:cbw_e",
    "CBW-D": "nndefense.retrieval.weights:cbw_d",
}
