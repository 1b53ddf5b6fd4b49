"""What a configuration asks for: query sets, shards, networks, needs and files."""

import copy
from pathlib import Path

import pytest
import yaml

from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import Threat
from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from nndefense.core.fingerprint import used_modules
from nndefense.core.registry import load
from nndefense.flow.databases import attacker_shards, databases_of, shards_of
from nndefense.flow.models import ancestors, architecture_targets, curves, trained_models, training_targets
from nndefense.flow.needs import NEEDS, attack_needs, defense_needs
from nndefense.flow.queries import (
    attacked_defenses,
    attacked_model,
    aware_packs,
    base_packs,
    compared_packs,
    defense_packs,
    file_of,
    linf_packs,
    listed_defenses,
    made_packs,
    neighbor_packs,
    packs_under,
    unaware_packs,
    undefended_packs,
)
from nndefense.flow.rows import all_files, defense_files, system_files
from nndefense.report.pieces import load_piece

ROOT = Path(__file__).resolve().parents[2]
RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
CONFIG = load_config(copy.deepcopy(RAW))
ENSEMBLE = {"method": "ensemble_training", "sources": ["resnet14"], "initial": "resnet20"}
PAIRING = {"method": "logit_pairing"}
PACK = "eps-0.02,0.04,0.06,0.08"


def configured(**recipes):
    """The default experiment with these models besides its own, of ResNet-20's architecture."""
    config = copy.deepcopy(RAW)
    config["models"] = {name: config["models"][name] for name in ("resnet20", "resnet14")}
    config["defenses"] = {}
    config["attacks"].pop("linf", None)
    config["attacks"]["adaptive"].pop("defenses", None)
    for section in ("dictionaries", "retrieval", "validation"):
        config.pop(section, None)
    for name, recipe in recipes.items():
        config["models"][name] = {"architecture": "cifar_resnet20", "train": {"images": "shapes_train", **recipe}}
    return config


def test_query_sets_of_the_default():
    assert [str(pack) for pack in packs_under(CONFIG, "pgd")] == [
        "clean", f"raw01/gray_box/pgd/{PACK}", f"raw01/black_box/pgd/{PACK}",
    ]  # fmt: skip
    aware = [str(pack) for pack in aware_packs(CONFIG)]
    forms = ("pgd_pr", "pgd_pr_hard", "pgd_pr_literal", "pgd_fs")
    assert aware[:4] == [f"raw01/white_box-Targeted-8000/{attack}/{PACK}" for attack in forms]
    assert aware[4:] == [
        f"raw01/white_box-Targeted-{name}/pgd_fs/eps-0.06"
        for name in ("500", "2000", "8000-overlap-0", "8000-overlap-0.125", "8000-overlap-0.5")
    ]
    assert len(unaware_packs(CONFIG)) == 2 * 3
    assert [str(pack) for pack in linf_packs(CONFIG, "racnn_5")] == [
        f"linf/gray_box-racnn_5/{attack}/eps-0.01,0.02,0.04,0.06,0.08" for attack in ("fgsm", "ifgsm")
    ]
    assert not any(pack.threat and pack.threat.box == "white_box" for pack in neighbor_packs(CONFIG, "conv_2_3"))
    made = made_packs(CONFIG)
    assert len(made) == len(set(made))


def test_a_query_set_is_in_one_file():
    single = Pack.parse("raw01/gray_box/pgd/eps-0.06")
    assert str(file_of(CONFIG, single)) == f"raw01/gray_box/pgd/{PACK}"
    assert file_of(CONFIG, CLEAN) == CLEAN
    for defense in CONFIG.defenses:
        for pack in defense_packs(CONFIG, defense):
            assert pack == CLEAN or file_of(CONFIG, pack) in made_packs(CONFIG)
    # At the base budget alone, whatever else its file holds.
    assert [str(pack) for pack in base_packs(CONFIG)][1] == str(single)


def test_whose_gradients_an_attack_follows():
    found = {name: attacked_model(CONFIG, Threat.parse(name)) for name in
             ("gray_box", "black_box", "white_box-Targeted-8000", "gray_box-racnn")}  # fmt: skip
    assert list(found.values()) == ["resnet20", "resnet14", "resnet20", "racnn"]


def test_shards_of_the_default():
    assert shards_of(CONFIG, "All") == ["0-500", "500-1000", "1000-2000", "2000-4000", "4000-8000"]
    assert shards_of(CONFIG, "All", 1500) == ["0-500", "500-1000", "1000-2000"]
    # Those that the PCA is fitted on stand alone.
    assert shards_of(CONFIG, "Train") == ["0-2000", "2000-5000"]
    whole = databases_of(CONFIG, "Targeted").whole
    assert attacker_shards(CONFIG, whole) == shards_of(CONFIG, "Targeted")


def test_files_of_rows():
    files = system_files(CONFIG, CONFIG.features.names, packs_under(CONFIG, "pgd"))
    assert files[0] == "<results>/predictions/resnet20/none/clean.npz"
    assert files[3] == "<results>/predictions/resnet20/conv_4_1/clean.npz"
    everything = all_files(CONFIG)
    assert len(everything) == len(set(everything))
    assert set(files) | set(defense_files(CONFIG)) <= set(everything)
    undefended = [name for name in everything if "/none/" in name]
    assert len(undefended) == len(undefended_packs(CONFIG))


def test_needs_are_files_with_a_reader():
    for need in NEEDS.values():
        assert callable(load(need.read))
    found = attack_needs(CONFIG, Pack.parse(f"raw01/white_box-Targeted-8000/pgd_fs/{PACK}"))
    assert dict(zip(found.roles, found.files, strict=True)) == {
        "knowledge": "<results>/attacks/knowledge/Targeted-8000.npz",
        "encoder": "<results>/pca/resnet20/conv_4_1/Targeted.npz",
    }
    assert found.facts == {"encoder": {"layer": "conv_4_1", "pooled": {}}}
    assert attack_needs(CONFIG, Pack.parse(f"raw01/gray_box/cw/{PACK}")).roles == ["direction"]
    assert attack_needs(CONFIG, Pack.parse(f"raw01/gray_box/pgd/{PACK}")).files == []
    assert defense_needs(CONFIG, "image_quilting").files == ["<results>/patches/shapes_web.npy"]


def test_jobs_depend_on_the_code_of_what_they_attack_and_of_its_readers():
    target = "nndefense.defenses.retrieval_augmented:RetrievalAugmentedNetwork"
    attacks = {str(pack.threat): pack for pack in made_packs(CONFIG) if pack.threat.defense == "racnn_5"}
    assert target in attack_needs(CONFIG, attacks["adaptive-racnn_5"]).targets
    # The papers' attack is on the network itself.
    assert target not in attack_needs(CONFIG, attacks["gray_box-racnn_5"]).targets
    assert {NEEDS["patches"].read, "nndefense.defenses.image_quilting:ImageQuilting"} == set(
        defense_needs(CONFIG, "image_quilting").targets
    )


def test_pixels_of_neighbours_are_read_for_the_literal_form_only():
    pack = Pack.parse(f"raw01/white_box-Targeted-8000/pgd_pr/{PACK}")
    assert attack_needs(CONFIG, pack).roles == ["knowledge"]
    raw = copy.deepcopy(RAW)
    raw["attacks"]["methods"]["pgd_pr"]["form"] = "literal"
    assert set(attack_needs(load_config(raw), pack).roles) == {"knowledge", "neighbor_images"}


def test_answers_are_there_where_extraction_made_them():
    assert defense_needs(CONFIG, "none").files == ["<results>/softmax/resnet20/queries/clean.npy"]
    assert defense_needs(CONFIG, "none", linf_packs(CONFIG)[0]).files == []


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"method": "magic"}, "models.mine.train.method: 'magic' is not allowed; allowed: standard, clustered"),
        ({**ENSEMBLE, "sources": ["vgg"]}, "models.mine.train.sources: 'vgg' is unknown; allowed: resnet20, resnet14"),
        ({**ENSEMBLE, "sources": ["mine"]}, "models.mine.train: a model cannot be trained from itself (mine -> mine)"),
        ({**ENSEMBLE, "sources": ["other"]}, "a model cannot be trained from itself (mine -> other -> mine)"),
        ({"initial": "vgg"}, "models.mine.train.initial: 'vgg' is unknown"),
        ({"initial": "resnet14"}, "models.mine.train.initial: cifar_resnet14 cannot start a cifar_resnet20"),
    ],
)
def test_errors_name_the_key_in_one_line(recipe, message):
    with pytest.raises(ConfigError) as caught:
        load_config(configured(mine=recipe, other={"initial": "mine"}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_networks_are_trained_from():
    config = load_config(configured(ensemble=ENSEMBLE, pairing=PAIRING, further={"initial": "ensemble"}))
    assert list(config.models["ensemble"].trained_from) == ["resnet20", "resnet14"]
    assert list(config.models["pairing"].trained_from) == []
    assert ancestors(config, ["further"]) == ["resnet20", "resnet14", "ensemble", "further"]
    assert trained_models(config, "logit_pairing") == ["pairing"]
    assert trained_models(config) == ["resnet20", "resnet14", "ensemble", "pairing", "further"]


def test_only_the_code_of_its_method_counts_for_a_training():
    config = load_config(configured(ensemble=ENSEMBLE, pairing=PAIRING))

    def files(model):
        from nndefense.core.fingerprint import module_file

        starts = [module_file(target.partition(":")[0]) for target in training_targets(config, model)]
        starts.append(ROOT / "scripts/train_model.py")
        return {file.name for start in starts for file in (start, *used_modules(start))}

    assert {"train.py", "objective.py", "shapes.py", "cifar_resnet.py"} <= files("resnet20")
    assert not files("resnet20") & {"ensemble_training.py", "logit_pairing.py", "mixed.py", "folder.py"}
    assert files("ensemble") - files("resnet20") >= {"ensemble_training.py", "mixed.py"}
    assert "logit_pairing.py" not in files("ensemble")
    assert "ensemble_training.py" not in files("pairing")


def test_networks_on_others_depend_on_both_architectures():
    targets = architecture_targets(CONFIG, "racnn")
    assert targets == ["nndefense.models.cifar_resnet:build", "nndefense.models.racnn:build"]
    assert architecture_targets(CONFIG, "resnet20") == ["nndefense.models.cifar_resnet:build"]


def test_curves_are_of_the_networks_in_use():
    raw = configured(ensemble=ENSEMBLE, pairing=PAIRING)
    assert curves(load_config(raw)) == ["resnet20", "resnet14"]
    raw["defenses"]["ensemble_training"] = {"model": "ensemble"}
    assert curves(load_config(raw)) == ["resnet20", "resnet14", "ensemble"]


def test_ablations_stand_where_they_are_compared_and_nowhere_else():
    listed = listed_defenses(CONFIG)
    assert "srd" in listed
    assert [name for name in CONFIG.defenses if name not in listed] == [
        "srd_robust", "srd_oracle", "srd_random", "srd_whole", "srd_resnet14", "resnet14",
    ]  # fmt: skip
    compared = compared_packs(CONFIG, "srd_whole")
    assert set(defense_packs(CONFIG, "srd_whole")) == set(compared)
    assert set(defense_packs(CONFIG, "srd")) > set(compared_packs(CONFIG, "srd"))
    assert not any(pack.threat and pack.threat.box == "black_box" for pack in defense_packs(CONFIG, "srd_whole"))
    # Another classifier is attacked itself.
    assert [str(pack) for pack in defense_packs(CONFIG, "srd_resnet14")] == [
        "clean", "raw01/gray_box-srd_resnet14/pgd/eps-0.06",
    ]  # fmt: skip
    files = [path for paths in load_piece("table2").files(CONFIG).values() for path in paths]
    assert any("/srd/" in path for path in files)
    assert not any("/srd_" in path for path in files)
    raw = copy.deepcopy(RAW)
    raw["attacks"]["adaptive"]["defenses"] = None
    assert attacked_defenses(load_config(raw)) == ["none", "knn", *listed]
