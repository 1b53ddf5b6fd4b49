"""Attacks with a normalised l2 budget. Adding one: a file here and a line in ATTACKS."""

ATTACKS = {
    "cw": "nndefense.attacks.cw:CW",
    "fgsm": "nndefense.attacks.fgsm:FGSM",
    "ifgsm": "nndefense.attacks.ifgsm:IFGSM",
    "pgd": "nndefense.attacks.pgd:PGD",
    "pgd_fs": "nndefense.attacks.pgd_fs:PGDFS",
    "pgd_pr": "nndefense.attacks.pgd_pr:PGDPR",
}
