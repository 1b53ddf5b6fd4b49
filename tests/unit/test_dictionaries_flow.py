"""Which query sets purifiers by dictionaries are compared on, in which files these are, and what a purifier needs."""

import pytest

from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import Threat
from nndefense.config import load_config
from nndefense.core.registry import load
from nndefense.flow.dictionaries import (
    attacks_through,
    compared_defenses,
    dictionary_model,
    learnt_parts,
    part_file,
    tuned_by,
    tuned_file,
)
from nndefense.flow.needs import attack_needs, defense_needs
from nndefense.flow.queries import (
    base_ball,
    compared_gray,
    compared_packs,
    compared_through,
    defense_packs,
    file_of,
    made_packs,
    method_options,
    through_packs,
    undefended_packs,
)
from nndefense.flow.rows import all_files, answer_file, defense_files, system_answers

from .config_cases import SMALL, changed
from .test_dictionaries_config import RAW as PLAIN

GRAY = "raw01/gray_box"
ROOT = "<results>/srd"
LEARNT = [f"{ROOT}/clusters.npz", f"{ROOT}/dictionaries.npz"]
COMPARED = ["low_pass", "srd", "srd_oracle", "srd_robust", "robust"]
RAW = {
    **PLAIN,
    "surrogate": "other",
    "attacks": {
        "methods": {"fgsm": {}, "pgd": {}, "pgd_fs": {}},
        "epsilons": [[0.02, 0.06], 0.04, 0.08],
        "adaptive": {
            "methods": {"noise": {}, "soft_retrieval": {}},
            "epsilons": [0.06],
            "defenses": ["none", "srd"],
            "full": [],
        },
        "white_box": {"pool": "All", "neighbors": 5},
    },
    "dictionaries": {**PLAIN["dictionaries"], "epsilons": [[0.02, 0.04], 0.06]},
}
CONFIG = load_config(RAW)
EVERYONE = ["none", *CONFIG.defenses]


def configured(**changes):
    raw = RAW
    for path, value in changes.items():
        raw = changed(raw, tuple(path.split("__")), value)
    return load_config(raw)


def names(packs):
    return list(map(str, packs))


def model(name):
    return [f"<results>/models/{name}/{file}" for file in ("model.json", "weights.safetensors")]


# -- query sets


def test_the_bare_network_and_the_defences_of_the_table_are_compared():
    assert compared_defenses(CONFIG) == ["none", *COMPARED]
    assert compared_defenses(load_config(SMALL)) == []
    assert dictionary_model(CONFIG) == "small"
    assert dictionary_model(configured(dictionaries__model="other", models__robust__architecture="cifar_resnet14",
                                       models__robust__train__initial="other")) == "other"  # fmt: skip


def test_only_dictionaries_can_be_unrolled():
    """Neither the bare network nor purifiers without steps, nor whoever is not compared."""
    found = {name: attacks_through(CONFIG, name) for name in EVERYONE}
    both, one = ["bpda", "unrolled"], ["bpda"]
    assert found == {
        "none": one,
        "low_pass": one,
        "srd": both,
        "srd_oracle": both,
        "srd_robust": both,
        "robust": one,
        "crop_ensemble": [],
    }
    turned = configured(dictionaries__attacks={"unrolled": {}, "pgd": {}, "bpda": {}})
    assert attacks_through(turned, "srd") == ["unrolled", "pgd", "bpda"]
    assert attacks_through(turned, "none") == ["pgd", "bpda"]
    assert attacks_through(load_config(SMALL), "none") == []


def test_nothing_goes_through_a_defence_where_no_attacks_through_defences_are_asked_for():
    plain = configured(attacks__adaptive=None)
    for name in EVERYONE:
        assert attacks_through(plain, name) == compared_through(plain, name) == through_packs(plain, name) == []
        assert compared_packs(plain, name) == (
            [CLEAN, *compared_gray(plain, name)] if name in compared_defenses(plain) else []
        )


def test_sets_of_gray_box_attacks_are_of_the_files_that_hold_them():
    """Of every attack that does not know of the retrieval, at the section's budgets, as they are made together."""
    whole = [f"{GRAY}/{attack}/eps-{epsilons}" for attack in ("fgsm", "pgd") for epsilons in ("0.02,0.06", "0.04")]
    assert names(compared_gray(CONFIG, "none")) == whole
    for name in COMPARED:
        # What a defence is evaluated on anyhow is not evaluated twice.
        found = [(one.attack, epsilon) for one in compared_gray(CONFIG, name) for epsilon in one.epsilons]
        assert sorted(found) == sorted(
            (attack, epsilon) for attack in ("fgsm", "pgd") for epsilon in (0.02, 0.04, 0.06)
        )
        assert Pack.parse(f"{GRAY}/pgd/eps-0.06") in compared_gray(CONFIG, name)
    ablated = configured(defenses__srd__ablation=True)
    assert names(compared_gray(ablated, "srd")) == whole
    assert compared_gray(CONFIG, "crop_ensemble") == []
    few = configured(dictionaries__epsilons=[0.06])
    assert names(compared_gray(few, "srd")) == [f"{GRAY}/fgsm/eps-0.06", f"{GRAY}/pgd/eps-0.06"]
    assert names(file_of(few, one) for one in compared_gray(few, "srd")) == [
        f"{GRAY}/fgsm/eps-0.02,0.06", f"{GRAY}/pgd/eps-0.02,0.06",
    ]  # fmt: skip


def test_sets_of_attacks_through_a_defence_are_made_as_the_section_groups_them():
    assert names(compared_through(CONFIG, "srd")) == [
        f"raw01/adaptive-srd/{attack}/eps-{epsilons}"
        for attack in ("bpda", "unrolled")
        for epsilons in ("0.02,0.04", "0.06")
    ]
    assert names(compared_through(CONFIG, "none")) == [
        f"raw01/adaptive-none/bpda/eps-{epsilons}" for epsilons in ("0.02,0.04", "0.06")
    ]
    assert compared_through(CONFIG, "crop_ensemble") == []
    for one in compared_through(CONFIG, "srd"):
        assert file_of(CONFIG, one) == one


def test_compared_sets_are_the_clean_one_and_all_others():
    for name in ("none", *COMPARED):
        packs = compared_packs(CONFIG, name)
        assert packs == [CLEAN, *compared_gray(CONFIG, name), *compared_through(CONFIG, name)]
        assert len(packs) == len(set(packs))
    assert compared_packs(CONFIG, "crop_ensemble") == []
    assert compared_packs(load_config(SMALL), "none") == []


@pytest.mark.parametrize("full", [[], ["srd"], ["none", "srd"]])
def test_every_set_is_made_once_and_has_a_file(full):
    """Also where attacks through a defence are wanted in full, or are the same in both sections."""
    adaptive = RAW["attacks"]["adaptive"]
    methods = {**adaptive["methods"], "bpda": {"steps": 5}}
    budgets = {"epsilons": [[0.02, 0.04], 0.06]}
    for attacks in (adaptive, {**adaptive, "methods": methods}, {**adaptive, "methods": methods, **budgets}):
        config = configured(attacks__adaptive={**attacks, "full": full})
        made = made_packs(config)
        assert len(made) == len(set(made))
        for name in EVERYONE:
            packs = through_packs(config, name)
            assert len(packs) == len(set(packs))
            assert set(compared_through(config, name)) <= set(packs) <= set(made)
            assert {file_of(config, one) for one in compared_packs(config, name)} <= {CLEAN, *made}


@pytest.mark.parametrize("epsilons", [[[0.02, 0.04], 0.06], [0.06], [0.02, 0.06], [0.02]])
def test_what_is_compared_is_evaluated_and_no_file_is_there_twice(epsilons):
    config = configured(dictionaries__epsilons=epsilons)
    for name in COMPARED:
        assert set(compared_packs(config, name)) <= set(defense_packs(config, name))
        assert {answer_file(config, name, one) for one in compared_packs(config, name)} <= set(defense_files(config))
    assert {file_of(config, one) for one in compared_packs(config, "none")} <= set(undefended_packs(config))
    for files in (all_files(config), defense_files(config), system_answers(config, "srd")):
        assert len(files) == len(set(files))


def test_attacks_through_a_defence_join_its_worst_case():
    answers = system_answers(CONFIG, "srd")
    for one in compared_through(CONFIG, "srd"):
        assert answer_file(CONFIG, "srd", one) in answers
    assert answers[-1].endswith("adaptive-srd/worst/eps-0.06.npz")


def test_options_of_an_attack_through_a_defence_are_those_of_its_section():
    ball, threat = base_ball(CONFIG), Threat("adaptive", "srd")
    assert method_options(CONFIG, ball, threat, "unrolled")["steps"] == 5
    assert method_options(CONFIG, ball, threat, "bpda")["refresh"] == 1
    assert method_options(CONFIG, ball, threat, "noise") == CONFIG.attacks.adaptive.methods["noise"].model_dump()


def test_there_is_nothing_without_the_section():
    config = load_config(SMALL)
    assert learnt_parts(config) == []
    assert through_packs(config, "none") == []
    assert all("adaptive" not in str(one) for one in made_packs(config))


def test_parts_are_learnt_by_as_many_jobs_as_are_asked_for():
    config = configured(dictionaries__learning={"jobs": 3})
    assert learnt_parts(config) == ["0of3", "1of3", "2of3", "whole"]
    assert part_file("1of3") == f"{ROOT}/parts/1of3.npz"


# -- needs


def test_a_purifier_needs_dictionaries_and_the_network_that_chooses():
    found = defense_needs(CONFIG, "srd")
    assert found.files == [*LEARNT, *model("small"), tuned_file("srd")]
    assert found.roles == ["dictionaries"] * 4 + ["tuned"]
    assert found.facts == {}
    assert found.readers == {
        "dictionaries": "nndefense.evaluation.purifying:read_dictionaries",
        "tuned": "nndefense.evaluation.context:read_tuned",
    }
    assert "nndefense.defenses.semantic_dictionaries:SemanticDictionaries" in found.targets
    assert all(callable(load(one)) for one in found.targets)
    robust = defense_needs(CONFIG, "srd_robust")
    assert robust.files == [*LEARNT, *model("robust"), tuned_file("srd")]


def test_only_an_oracle_needs_to_know_the_clusters_of_test_images():
    found = defense_needs(CONFIG, "srd_oracle")
    assert found.files == [*LEARNT, *model("small"), f"{ROOT}/oracle.npz", tuned_file("srd")]
    assert found.roles == ["dictionaries"] * 4 + ["oracle", "tuned"]
    for name in ("srd", "srd_robust"):
        assert "oracle" not in defense_needs(CONFIG, name).roles


def test_latents_are_those_of_the_network_that_was_divided():
    config = configured(
        dictionaries__model="other", models__robust__architecture="cifar_resnet14", models__robust__train__initial=None
    )
    assert defense_needs(config, "srd").files[2:4] == model("other")
    assert defense_needs(config, "srd_robust").files[2:4] == model("robust")


def test_what_was_chosen_is_known_except_while_it_is_chosen():
    assert tuned_file("low_pass") == "<results>/tuned/low_pass.json"
    found = {name: tuned_by(CONFIG, name) for name in EVERYONE}
    assert found == {
        "none": None,
        "low_pass": "low_pass",
        "srd": "srd",
        "srd_oracle": "srd",
        "srd_robust": "srd",
        "robust": None,
        "crop_ensemble": None,
    }
    assert defense_needs(CONFIG, "low_pass").files == [tuned_file("low_pass")]
    assert defense_needs(CONFIG, "crop_ensemble").files == defense_needs(CONFIG, "robust").files == []
    assert defense_needs(CONFIG, "low_pass", tuned=False).files == []
    assert defense_needs(CONFIG, "srd", tuned=False).files == [*LEARNT, *model("small")]


def test_who_attacks_a_defence_has_what_it_has():
    for name in COMPARED:
        own = defense_needs(CONFIG, name)
        for pack in compared_through(CONFIG, name):
            found = attack_needs(CONFIG, pack)
            assert (found.roles, found.files, found.readers) == (own.roles, own.files, own.readers)
            assert set(own.targets) < set(found.targets)


def test_who_attacks_a_bare_network_needs_nothing():
    for pack in (*compared_gray(CONFIG, "srd"), *compared_through(CONFIG, "none")):
        assert attack_needs(CONFIG, pack).files == []
    # A network of its own is attacked as one in the gray box.
    own = Pack(base_ball(CONFIG), Threat("gray_box", "robust"), "pgd", (0.06,))
    assert own in made_packs(CONFIG)
    assert attack_needs(CONFIG, own).files == []
    assert tuned_by(CONFIG, None) is None
