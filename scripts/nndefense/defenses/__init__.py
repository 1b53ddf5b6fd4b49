"""Defences: images in, class probabilities out. Adding one: a file here and a line in DEFENSES."""

from nndefense.core.plugins import plugins
from nndefense.core.registry import Entry

# Side of the patches, in pixels, that image quilting puts images together from.
PATCH_SIZE = 5

DEFENSES = {
    "cluster_training": Entry("nndefense.defenses.retrained:Retrained", "Adversarial training with clusters"),
    "crop_ensemble": Entry("nndefense.defenses.crop_ensemble:CropEnsemble", "Crop ensemble"),
    "ensemble_training": Entry("nndefense.defenses.retrained:Retrained", "Ensemble adversarial training"),
    "image_quilting": Entry("nndefense.defenses.image_quilting:ImageQuilting", "Image quilting", needs=("patches",)),
    "jpeg": Entry("nndefense.defenses.jpeg:JPEG", "JPEG"),
    "knn": Entry(
        "nndefense.defenses.neighbors:NearestNeighbors", "Nearest neighbours", needs=("retrieval", "imitation")
    ),
    "logit_pairing": Entry("nndefense.defenses.retrained:Retrained", "ALP"),
    "low_pass": Entry("nndefense.defenses.low_pass:LowPass", "Low-pass"),
    "median_filter": Entry("nndefense.defenses.median_filter:MedianFilter", "Median filter"),
    "network": Entry("nndefense.defenses.retrained:Retrained", "Another network"),
    "none": Entry("nndefense.defenses.none:NoDefense", "No defence", needs=("answers",)),
    "racnn": Entry("nndefense.defenses.retrieval_augmented:RetrievalAugmentedNetwork", "RA-CNN"),
    "srd": Entry(
        "nndefense.defenses.semantic_dictionaries:SemanticDictionaries", "SRD", needs=("dictionaries", "oracle")
    ),
    "tv_minimization": Entry("nndefense.defenses.tv_minimization:TVMinimization", "TV minimisation"),
}
# Ways to train a network, `method` of a model's `train`. What one needs is an argument of its `objective`, which its
# `read_{need}` reads from the file that `train_model.py` is given as `--{need}`.
TRAINING = {
    "clustered": Entry(
        "nndefense.defenses.cluster_training:ClusterTraining",
        "adversarial training with clusters",
        needs=("clusters",),
    ),
    "ensemble_training": Entry("nndefense.defenses.ensemble_training:EnsembleTraining", "ensemble training"),
    "gaussian_noise": Entry("nndefense.models.gaussian_noise:GaussianNoise", "training with Gaussian noise"),
    "logit_pairing": Entry("nndefense.defenses.logit_pairing:LogitPairing", "adversarial logit pairing"),
    "metric_learning": Entry("nndefense.models.metric_learning:MetricLearning", "metric learning"),
    "self_supervised": Entry("nndefense.models.self_supervised:SelfSupervised", "self-supervised training"),
}
DEFENSES |= plugins("defenses", DEFENSES)
TRAINING |= plugins("training", TRAINING)
