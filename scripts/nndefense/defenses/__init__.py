"""Defences of Table 2: images in, class probabilities out. Adding one: a file here and a line in DEFENSES."""

DEFENSES = {
    "crop_ensemble": "nndefense.defenses.crop_ensemble:CropEnsemble",
    "ensemble_training": "nndefense.defenses.retrained:Retrained",
    "image_quilting": "nndefense.defenses.image_quilting:ImageQuilting",
    "logit_pairing": "nndefense.defenses.retrained:Retrained",
    "racnn": "nndefense.defenses.retrained:Retrained",
    "tv_minimization": "nndefense.defenses.tv_minimization:TVMinimization",
}
PATCHED = ("image_quilting",)
# Networks of their own: attacks can use their gradients instead of the target's.
RETRAINED = ("ensemble_training", "logit_pairing", "racnn")
# Ways to train a network, `method` of a model's `train`.
TRAINING = {
    "ensemble_training": "nndefense.defenses.ensemble_training:EnsembleTraining",
    "logit_pairing": "nndefense.defenses.logit_pairing:LogitPairing",
}
