"""Attacks within a ball. Adding one: a file here and a line in ATTACKS.

An attack that needs `direction` searches once for a direction that every budget scales. One that needs `knowledge`
knows of the retrieval: it runs in the white box. `balls`: those that it works in, where not in all.
"""

from nndefense.core.plugins import plugins
from nndefense.core.registry import Entry

L2 = ("raw01", "standardized")
ATTACKS = {
    # Through the defence.
    "noise": Entry("nndefense.attacks.gaussian_noise:GaussianNoise", "Noise", balls=L2),
    "transfer": Entry("nndefense.attacks.transfer:Transfer", "L2 transfer", needs=("surrogates", "climbs"), balls=L2),
    "soft_retrieval": Entry("nndefense.attacks.soft_retrieval:SoftRetrieval", "Soft retrieval", balls=L2),
    "guide_samples": Entry("nndefense.attacks.guide_samples:GuideSamples", "Guide samples", balls=L2),
    "feature_matching": Entry("nndefense.attacks.feature_matching:FeatureMatching", "Feature matching", balls=L2),
    "bpda": Entry("nndefense.attacks.bpda:StraightThrough", "BPDA", balls=L2),
    "unrolled": Entry("nndefense.attacks.bpda:Unrolled", "Unrolled", balls=L2),
    "square": Entry("nndefense.attacks.square:Square", "Square", balls=L2),
    # Through a network.
    "cw": Entry("nndefense.attacks.cw:CW", "CW-L2", needs=("direction",), balls=L2),
    "fgsm": Entry("nndefense.attacks.fgsm:FGSM", "FGSM"),
    "ifgsm": Entry("nndefense.attacks.ifgsm:IFGSM", "I-FGSM"),
    "pgd": Entry("nndefense.attacks.pgd:PGD", "PGD"),
    "pgd_fs": Entry("nndefense.attacks.pgd_fs:PGDFS", "PGD-FS", needs=("knowledge", "encoder"), balls=L2),
    "pgd_pr": Entry("nndefense.attacks.pgd_pr:PGDPR", "PGD-PR", needs=("knowledge", "neighbor_images"), balls=L2),
    "pgd_pr_hard": Entry("nndefense.attacks.pgd_pr:PGDPRHard", "PGD-PR (hard)", needs=("knowledge",), balls=L2),
    "pgd_pr_literal": Entry(
        "nndefense.attacks.pgd_pr:PGDPRLiteral", "PGD-PR (literal)", needs=("knowledge", "neighbor_images"), balls=L2
    ),
}
ATTACKS |= plugins("attacks", ATTACKS)
