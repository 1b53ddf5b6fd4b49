"""Batches: no pack is lost or twice, and what is added to a configuration leaves the others as they are."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from nndefense.axes.cells import NO_DEFENSE
from nndefense.axes.queries import CLEAN, Pack
from nndefense.config import load_config
from nndefense.flow.batches import answered_batches, batches, searched_batches
from nndefense.flow.needs import defense_needs, packs_needs
from nndefense.flow.queries import defense_packs, neighbor_packs, undefended_packs

from .config_cases import SMALL, changed

ROOT = Path(__file__).resolve().parents[2]
RAW = yaml.safe_load((ROOT / "config.yaml").read_text())
FILES = [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def configured(raw=RAW, **changes):
    """A configuration in which sections hold more; keys are paths with __."""
    made = copy.deepcopy(raw)
    for path, more in changes.items():
        *parts, last = path.split("__")
        section = made
        for part in parts:
            section = section[part]
        section[last] = section[last] | more if isinstance(more, dict) else [*section[last], *more]
    return load_config(made)


def by_word(found):
    return {one.word: one for one in found}


CONFIG = configured()


# -- each pack once


@every_file
def test_each_pack_is_searched_in_one_batch(path):
    config = load_config(yaml.safe_load(path.read_text()))
    found = searched_batches(config)
    packs = [pack for one in found for pack in one.packs]
    assert len(packs) == len(set(packs))
    for layer in config.features.names:
        own = [pack for one in found if layer in one.systems for pack in one.packs]
        assert set(own) == set(neighbor_packs(config, layer))


@every_file
def test_each_system_answers_each_of_its_packs_in_one_batch(path):
    config = load_config(yaml.safe_load(path.read_text()))
    found = answered_batches(config)
    asked = {NO_DEFENSE: undefended_packs(config)} | {name: defense_packs(config, name) for name in config.defenses}
    for system, packs in asked.items():
        own = [pack for one in found if system in one.systems for pack in one.packs]
        assert len(own) == len(set(own))
        assert set(own) == set(packs)


@every_file
def test_words_of_batches_differ_and_are_names_of_rules(path):
    config = load_config(yaml.safe_load(path.read_text()))
    for found in (searched_batches(config), answered_batches(config)):
        words = [one.word for one in found]
        assert len(words) == len(set(words))
        assert all(re.fullmatch(r"\w+", word.replace("-", "_")) for word in words)


def test_what_only_the_base_layer_searches_stands_apart_whatever_is_attacked_together():
    raw = copy.deepcopy(RAW)
    raw["attacks"]["together"] = [["pgd", *raw["attacks"]["together"][0], *raw["attacks"]["together"][1]]]
    config = load_config(raw)
    found = by_word(searched_batches(config))
    packs = [pack for one in found.values() for pack in one.packs]
    assert len(packs) == len(set(packs))
    assert found["pgd"].systems == tuple(config.features.names)
    assert {pack.attack for pack in found["pgd"].packs} == {"fgsm", "pgd", "cw"}
    assert found["pgd_own"].systems == ("conv_4_1",)
    assert {pack.attack for pack in found["pgd_own"].packs} >= {"pgd_fs", "noise"}


# -- what a batch holds


def test_batches_of_the_default():
    found = by_word(searched_batches(CONFIG))
    assert list(found) == [
        "clean", "fgsm", "pgd", "pgd_pr", "pgd_pr_Targeted_500", "pgd_pr_Targeted_2000",
        "pgd_pr_Targeted_8000_overlap_0", "pgd_pr_Targeted_8000_overlap_0_125", "pgd_pr_Targeted_8000_overlap_0_5",
        "worst",
    ]  # fmt: skip
    assert found["clean"].packs == (CLEAN,)
    assert {(str(pack.threat), pack.attack) for pack in found["fgsm"].packs} == {
        (box, attack) for box in ("gray_box", "black_box") for attack in ("fgsm", "cw")
    }
    assert {one.systems for word, one in found.items() if word.startswith("pgd_pr")} == {("conv_4_1",)}
    answered = answered_batches(CONFIG)
    assert answered[0].packs == (CLEAN,)
    assert answered[0].systems == (NO_DEFENSE, *CONFIG.defenses)


@every_file
def test_packs_of_a_batch_share_ball_and_attacks_that_stand_together(path):
    config = load_config(yaml.safe_load(path.read_text()))
    for one in (*searched_batches(config), *answered_batches(config)):
        attacks = {pack.attack for pack in one.packs}
        assert len(attacks) == 1 or any(attacks <= set(group) for group in config.attacks.together)
        assert len({pack.ball for pack in one.packs}) == 1
        databases = {pack.threat.database for pack in one.packs if pack.threat} - {None}
        assert len(databases) <= 1


def test_packs_come_in_the_order_of_the_configuration():
    packs = [Pack.parse(f"raw01/gray_box/{name}") for name in ("fgsm/eps-0.02", "pgd/eps-0.02", "cw/eps-0.02")]
    assert [one.packs for one in batches(CONFIG, [*packs, CLEAN])] == [(packs[0], packs[2]), (packs[1],), (CLEAN,)]


# -- what is added


ADDED = {
    "attack": ({"attacks__methods": {"ifgsm": {}}}, {"ifgsm"}),
    "attack through a defence": ({"attacks__adaptive__methods": {"pgd": {}}}, {"pgd_through"}),
    "budget": ({"attacks__epsilons": [0.1]}, {"fgsm_eps_0_1", "pgd_eps_0_1", "pgd_pr_eps_0_1"}),
    "budgets in a list": (
        {"attacks__epsilons": [[0.1, 0.2]]}, {f"{one}_eps_0_1_0_2" for one in ("fgsm", "pgd", "pgd_pr")}
    ),
    "budget of worst cases": ({"attacks__adaptive__epsilons": [0.08]}, {"worst_eps_0_08", "pgd_pr_eps_0_08"}),
    "budget of a ball": ({"attacks__linf__epsilons": [0.1]}, set()),
    "budget of dictionaries": ({"dictionaries__epsilons": [0.04]}, set()),
    "first images": ({"attacks__white_box__sizes": [1000]}, {"pgd_pr_Targeted_1000"}),
    "overlap": ({"attacks__white_box__overlaps": [0.25]}, {"pgd_pr_Targeted_8000_overlap_0_25"}),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), ADDED.values(), ids=ADDED)
def test_what_is_added_is_a_batch_of_its_own(changes, words):
    config = configured(**changes)
    before, after = (by_word(searched_batches(one)) for one in (CONFIG, config))
    assert before.items() <= after.items()
    assert set(after) - set(before) == words
    now = {(one.packs, system) for one in answered_batches(config) for system in one.systems}
    asked = {(pack, system) for packs, system in now for pack in packs}
    kept = [
        (one.packs, system)
        for one in answered_batches(CONFIG)
        for system in one.systems
        # Budgets of one list are one pack, wherever they are added: then its file is another one.
        if all((pack, system) in asked for pack in one.packs)
    ]
    assert set(kept) < now
    assert len(kept) > 50


@pytest.mark.parametrize("more", ["conv_3_1", "conv_3_1-RMAC"])
def test_a_layer_joins_the_batches_of_the_others(more):
    config = configured(features__layers=[more])
    before, after = searched_batches(CONFIG), searched_batches(config)
    assert [(one.word, one.packs) for one in after] == [(one.word, one.packs) for one in before]
    shared = [one for one in after if more in one.systems]
    assert [one.word for one in shared] == ["clean", "fgsm", "pgd"]
    assert answered_batches(config) == answered_batches(CONFIG)


def test_a_second_layer_changes_no_batch_of_the_first():
    raw = copy.deepcopy(RAW)
    raw["features"]["layers"] = ["conv_4_1"]
    raw["attacks"]["together"] = [["pgd", "pgd_fs"]]
    before = searched_batches(load_config(raw))
    raw["features"]["layers"] = ["conv_4_1", "conv_4_3"]
    after = searched_batches(load_config(raw))
    assert [(one.word, one.packs) for one in after] == [(one.word, one.packs) for one in before]


def test_a_defence_joins_those_that_answer_the_same():
    config = configured(defenses={"smoother": {"kind": "low_pass"}})
    packs = {one.packs: one.systems for one in answered_batches(config)}
    for one in answered_batches(CONFIG):
        assert packs[one.packs][: len(one.systems)] == one.systems
    assert any("smoother" in systems and len(systems) > 1 for systems in packs.values())


def test_a_larger_database_changes_only_what_attackers_take_from_it():
    config = configured(sizes=[16000])
    before, after = (by_word(searched_batches(one)) for one in (CONFIG, config))
    for word in ("clean", "fgsm", "pgd", "worst"):
        assert before[word] == after[word]


def test_without_lists_every_attack_is_alone():
    config = load_config(changed(SMALL, ("attacks", "methods"), {"pgd": {}, "fgsm": {}}))
    assert [one.word for one in searched_batches(config)] == ["clean", "pgd", "fgsm"]


# -- what the packs of a batch need


@pytest.mark.parametrize("system", [NO_DEFENSE, "image_quilting", "srd", "srd_oracle"])
def test_files_that_packs_need_are_named_once_and_by_place(system):
    packs = undefended_packs(CONFIG) if system == NO_DEFENSE else defense_packs(CONFIG, system)
    found, used = packs_needs(CONFIG, system, packs)
    assert len(set(zip(found.roles, found.files, strict=True))) == len(found.files)
    for pack, places in zip(packs, used, strict=True):
        own = defense_needs(CONFIG, system, pack)
        assert [found.roles[place] for place in places] == own.roles
        assert [found.files[place] for place in places] == own.files
    assert any(used)
    if system == NO_DEFENSE:
        assert not all(used)
