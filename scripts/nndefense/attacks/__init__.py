"""Attacks with a normalised l2 budget. Adding one: a file here and a line in ATTACKS.

DIRECTED attacks search once for a direction that every budget scales. AWARE attacks know of the retrieval; they run in
the white-box setting only.
"""

ATTACKS = {
    "cw": "nndefense.attacks.cw:CW",
    "fgsm": "nndefense.attacks.fgsm:FGSM",
    "ifgsm": "nndefense.attacks.ifgsm:IFGSM",
    "pgd": "nndefense.attacks.pgd:PGD",
    "pgd_fs": "nndefense.attacks.pgd_fs:PGDFS",
    "pgd_pr": "nndefense.attacks.pgd_pr:PGDPR",
}
DIRECTED = ("cw",)
AWARE = ("pgd_fs", "pgd_pr")
