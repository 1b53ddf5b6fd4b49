"""Defences of Table 2: images in, class probabilities out. Adding one: a file here and a line in DEFENSES."""

DEFENSES = {
    "crop_ensemble": "nndefense.defenses.crop_ensemble:CropEnsemble",
    "image_quilting": "nndefense.defenses.image_quilting:ImageQuilting",
    "tv_minimization": "nndefense.defenses.tv_minimization:TVMinimization",
}
PATCHED = ("image_quilting",)
