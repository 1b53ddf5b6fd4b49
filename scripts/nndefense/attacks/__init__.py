"""Attacks with a normalised l2 budget. Adding one: a file here and a line in ATTACKS."""

ATTACKS = {
    "pgd": "nndefense.attacks.pgd:PGD",
}
