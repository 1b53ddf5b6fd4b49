"""Names and numbers as tables and figures print them."""

import re
from dataclasses import dataclass

SETTING_NAMES = {"clean": "Clean", "gray_box": "Gray box", "black_box": "Black box", "white_box": "White box"}
ATTACK_NAMES = {
    "fgsm": "FGSM",
    "ifgsm": "I-FGSM",
    "pgd": "PGD",
    "cw": "CW-L2",
    "pgd_pr": "PGD-PR",
    "pgd_fs": "PGD-FS",
}
DEFENSE_NAMES = {
    "none": "No defence",
    "crop_ensemble": "Crop ensemble",
    "tv_minimization": "TV minimisation",
    "image_quilting": "Image quilting",
    "ensemble_training": "Ensemble adversarial training",
    "ensemble_adv_training": "Ensemble adversarial training",
    "logit_pairing": "ALP",
    "alp": "ALP",
    "racnn": "RA-CNN",
    "ra_cnn": "RA-CNN",
    "ra_cnn_resnet18": "RA-CNN (ResNet-18)",
}
_WHITE_BOX = re.compile(r"white_box-(?P<pool>.+?)-(?P<size>\d+)(?:-overlap-(?P<overlap>[0-9.]+))?")


@dataclass(frozen=True)
class AttackDatabase:
    """The database that a white-box attack takes neighbours from.

    Attributes:
        pool, size: the first `size` images of the pool's order; with an overlap only as many images.
        overlap: share of its images that the defence database of that pool and size holds too; None: a prefix.
    """

    pool: str
    size: int
    overlap: float | None = None


def attack_database(setting: str) -> AttackDatabase | None:
    """Parse `white_box-POOL-SIZE` or `white_box-POOL-SIZE-overlap-SHARE`; None for any other setting."""
    found = _WHITE_BOX.fullmatch(setting)
    if found is None:
        return None
    overlap = found["overlap"]
    return AttackDatabase(found["pool"], int(found["size"]), None if overlap is None else float(overlap))


def setting_name(setting: str) -> str:
    """gray_box -> Gray box, white_box-Targeted-8000 -> White box (Targeted-8k)."""
    database = attack_database(setting)
    if database is None:
        return SETTING_NAMES.get(setting, setting)
    share = "" if database.overlap is None else f", overlap {database.overlap:g}"
    return f"{SETTING_NAMES['white_box']} ({database.pool}-{thousands(database.size)}{share})"


def attack_name(attack: str) -> str:
    """pgd -> PGD, cw -> CW-L2; an attack without a name of its own in capitals."""
    return ATTACK_NAMES.get(attack, attack.upper())


def defense_name(defense: str) -> str:
    """tv_minimization -> TV minimisation; a defence without a name of its own with its words apart."""
    return DEFENSE_NAMES.get(defense, defense.replace("_", " "))


def thousands(number: float) -> str:
    """500 -> 500, 2000 -> 2k, 1500000 -> 1.5M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"
