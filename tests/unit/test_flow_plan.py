"""What an experiment costs: sums by hand, passes as attacks make them, and what is not known beforehand."""

import math
from dataclasses import fields

import pytest
import torch
from torch import nn

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import RAW
from nndefense.axes.queries import Pack
from nndefense.axes.threat import GRAY
from nndefense.commands.plan import SHIPPED
from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from nndefense.flow.costs import UNKNOWN, Job, stage_of, stages_of, together
from nndefense.flow.estimate import MEMBER, SEAL, Estimate, Facts, Network
from nndefense.flow.plan import Bound, compute_bound_above, make_plan, plan_jobs
from nndefense.flow.plan_attacks import PASSES, Passes, attack_passes
from nndefense.flow.plan_searches import index_bytes, inverted_lists
from nndefense.flow.rates import check_rates, read_rates
from tests.unit.adaptive_cases import ADAPTIVE, ALWAYS, Fake, always, grey, slope
from tests.unit.attack_cases import CLASSES, NEIGHBORS, Curved, draw_images, make_attack, make_context, run
from tests.unit.config_cases import SMALL, changed

RATES = read_rates(SHIPPED)
# A pass of 1,000 operations, 1,024 features.
NETWORK = Network("measured/32", 1000.0, (1000.0,), {"conv_4_1": 1024}, 10.0, 20.0, 400.0)
FACTS = Facts({"train": 500}, {"train": 32}, {("small", 32): NETWORK})
# Two shards behind the sample's, each a hundred rows or more; 300 query images.
RAW_CONFIG = SMALL | {
    "queries": {"images": "train", "count": 300, "shared": True},
    "sizes": [[100, 500]],
    "shard_rows": 250,
    "features": {"layers": ["conv_4_1"], "components": 64, "pca_samples": 100, "keep": False},
    "attacks": {"methods": {"pgd": {"steps": 10}}, "epsilons": [[0.02, 0.06]], "settings": ["gray_box"]},
}


def jobs_of(raw=RAW_CONFIG, facts=FACTS, rates=RATES):
    found: dict[str, list[Job]] = {}
    for one in plan_jobs(Estimate(load_config(raw), facts, rates)):
        found.setdefault(one.script, []).append(one)
    return found


# -- sums


def test_jobs_share_cores_and_the_longest_is_waited_for():
    jobs = [Job(script="x", rows=10, written=5, serial=3600, parallel=seconds, megabytes=mb) for seconds, mb in
            ((0, 10), (3600, 30), (7200, 20))]  # fmt: skip
    found = stage_of(jobs, cores=2, gpus=0)
    assert (found.jobs, found.reckoned, found.rows, found.written, found.megabytes) == (3, 3, 30, 15, 30)
    assert (found.cpu_hours, found.gpu_hours, found.unknown) == (6, 0, frozenset())
    # 1 + 2 + 3 hours on two cores; on many the last one alone.
    assert found.wall_hours == 3
    assert stage_of(jobs, cores=9, gpus=0).wall_hours == 3
    assert stage_of(jobs, cores=1, gpus=0).wall_hours == 6


def test_threads_share_what_is_parallel_and_take_their_cores():
    jobs = [Job(script="x", serial=3600, parallel=7200, threads=2)] * 4
    found = stage_of(jobs, cores=4, gpus=0)
    assert (found.cpu_hours, found.wall_hours) == (12, 4)
    assert stage_of(jobs, cores=1, gpus=0).wall_hours == 8


def test_a_gpu_takes_the_network_and_is_held_as_long_as_the_job_lasts():
    jobs = [Job(script="x", serial=3600, parallel=36000, device=1800)] * 2
    found = stage_of(jobs, cores=8, gpus=1)
    assert (found.cpu_hours, found.gpu_hours, found.wall_hours) == (2, 3, 3)
    assert stage_of(jobs, cores=8, gpus=2).wall_hours == 1.5
    # Without one, or where the configuration asks for none, cores compute.
    assert stage_of(jobs, cores=8, gpus=0).cpu_hours == 22
    assert stage_of([Job(script="x", serial=3600, parallel=3600)], cores=8, gpus=1).gpu_hours == 0


def test_what_is_not_known_is_told_and_the_rest_summed_up():
    jobs = [Job(script="a", rows=5, serial=3600, megabytes=7), Job(script="a", rows=UNKNOWN, written=3, serial=UNKNOWN)]
    first, second = stages_of([*jobs, Job(script="b", rows=1, serial=7200)], cores=1, gpus=0)
    assert (first.rows, first.written, first.cpu_hours, first.megabytes, first.reckoned) == (5, 3, 1, 7, 1)
    assert first.unknown == {"rows", "cpu_hours", "wall_hours"}
    total = together([first, second], "total")
    assert (total.jobs, total.reckoned, total.cpu_hours, total.wall_hours) == (3, 2, 3, 3)
    assert total.unknown == first.unknown


# -- databases


def test_codes_of_a_pass_over_a_shard():
    jobs = jobs_of()["extract_features"]
    # 0-100 for the PCA, 100-250 and 250-500.
    assert [one.rows for one in jobs] == [100, 150, 250]
    sample, codes, last = jobs
    # Half a softmax row of ten classes, two weights in single precision, a checksum, and a sum of pixels.
    stored = 2 * 10 + 2 * 4 + 16
    assert sample.written == 100 * (2 * 1024 + stored) + 6 * SEAL
    assert sample.temporary == 100 * 2 * 1024
    assert codes.written == 150 * (4 * 64 + stored) + 6 * SEAL
    assert (codes.temporary, codes.forward) == (0, 150)
    assert codes.flop == 150 * (1000 + 2 * 1024 * 64)
    assert last.written - codes.written == 100 * (4 * 64 + stored)
    kept = changed(RAW_CONFIG, ("features", "keep"), True)
    assert [one.temporary for one in jobs_of(kept)["extract_features"]] == [0, 0, 0]
    half = changed(RAW_CONFIG, ("index",), {"codes": "float16"})
    assert jobs_of(half)["extract_features"][1].written == 150 * (2 * 64 + stored) + 6 * SEAL


def test_time_of_a_pass_follows_the_rates():
    rates = RATES.model_copy(update={"networks": {"measured/32": RATES.networks["cifar_resnet20/32"]}})
    speed = rates.networks["measured/32"].images_per_s
    job = jobs_of(rates=rates)["extract_features"][2]
    assert job.parallel == pytest.approx(250 / speed)
    assert job.device == pytest.approx(250 * 1000 / (rates.gpu.gflops * 1e9))
    # What was not measured goes by its operations.
    other = jobs_of()["extract_features"][2]
    assert other.parallel == pytest.approx(250 * 1000 / (RATES.other_networks.gflops * 1e9))
    assert jobs_of(changed(RAW_CONFIG, ("gpu",), 0))["extract_features"][2].device is None


def test_a_pca_and_its_codes():
    (job,) = jobs_of()["fit_pca"]
    assert (job.rows, job.read) == (100, 100 * 1024 * 2)
    assert job.flop == 2 * 100 * 1024**2 + 9 * 1024**3
    assert job.written == 1024 * 8 + 64 * (4 * 1024 + 16) + 5 * MEMBER
    (encoded,) = jobs_of()["encode_features"]
    assert (encoded.rows, encoded.flop) == (100, 2 * 100 * 1024 * 64)
    assert encoded.written == 100 * 4 * 64 + SEAL
    # Centred images span one dimension fewer than there are.
    few = changed(changed(RAW_CONFIG, ("features", "pca_samples"), 50), ("sizes",), [[100, 500]])
    assert jobs_of(few)["encode_features"][0].written == 50 * 4 * 49 + SEAL


def test_a_search_is_a_product_of_queries_and_rows_for_every_stop_a_list():
    clean, attacked = jobs_of()["search_span"]
    assert clean.rows == attacked.rows == 500
    assert clean.flop == 2 * 300 * 500 * 64
    assert attacked.flop == 2 * clean.flop
    # Sizes 100 and 500, 100 neighbours of 12 bytes.
    assert clean.written == 300 * 2 * 100 * 12 + 3 * MEMBER
    assert clean.read == 500 * 4 * 64 + 300 * 2 * 1024
    rate = RATES.search
    assert clean.parallel == pytest.approx((clean.flop / rate.gflops + 300 * 500 * rate.pair_ns) * 1e-9)
    assert "merge_neighbors" not in jobs_of()


def test_lists_of_several_spans_are_merged():
    several = changed(RAW_CONFIG, ("sizes",), [100, [200, 500]])
    jobs = jobs_of(several)
    assert [one.rows for one in jobs["search_span"]] == [100, 400, 100, 400]
    clean, attacked = jobs["merge_neighbors"]
    assert clean.written == 300 * 3 * 100 * 12 + 3 * MEMBER
    assert clean.read == 300 * 3 * 100 * 12
    assert attacked.rows == 600


def test_bits_are_compared_without_products_and_take_an_eighth_of_a_byte():
    bits = changed(RAW_CONFIG, ("features", "layers"), [["conv_4_1-RMAC", "conv_4_1"]])
    bits = changed(bits, ("base", "features"), "conv_4_1-RMAC")
    network = Network("measured/32", 1000.0, (1000.0,), {"conv_4_1-RMAC": 64, "conv_4_1": 64})
    jobs = jobs_of(bits, Facts(FACTS.rows, FACTS.sides, {("small", 32): network}))
    assert jobs["encode_features"][0].written == 100 * (8 + 64 * 4) + 2 * SEAL
    search = jobs["search_span"][0]
    assert search.parallel == pytest.approx(300 * 500 * RATES.search.bit_pair_ns * 64 / 256 * 1e-9)
    assert search.read == 500 * 8 + 300 * 2 * 64


def test_an_approximate_index_is_trained_once_and_filled_by_shard():
    inverted = changed(RAW_CONFIG, ("index",), {"factory": "IVF2,SQ8", "probes": 1})
    jobs = jobs_of(inverted)
    (trained,) = jobs["train_index"]
    assert trained.flop == 2 * 10 * 100 * 2 * 64
    assert [one.rows for one in jobs["build_index"]] == [100, 150, 250]
    assert jobs["build_index"][0].written == 100 * (64 + 8) + 2 * 64 * 4 + SEAL
    # Half of the lists are visited, after a look at the two centres.
    assert jobs["search_span"][0].flop == 2 * 64 * (300 * 500 / 2 + 300 * 2)


@pytest.mark.parametrize(
    ("factory", "size", "lists"),
    [("SQ8", 264, 1), ("IVF64,Flat", 1032, 64), ("IVF4096,PQ32np", 40, 4096), ("PQ16x8", 24, 1), ("IVF8,SQ4", 136, 8)],
)
def test_bytes_of_an_indexed_code(factory, size, lists):
    assert (index_bytes(factory, 256), inverted_lists(factory)) == (size, lists)


def test_an_index_whose_size_is_not_known():
    assert math.isnan(index_bytes("HNSW32", 256))


def test_votes_read_checksums_of_whole_stores_and_rows_of_neighbours():
    config = changed(RAW_CONFIG, ("votes",), {"neighbors": [1, 50], "weightings": ["CBW-D"], "combinations": ["soft"]})
    clean, attacked = jobs_of(config)["vote"]
    assert clean.read == 500 * (2 * 4 + 16) + 300 * 2 * 100 * 8
    # 2 sizes x 2 K answers of two bytes, and a distance.
    assert clean.written == 300 * (4 * 2 + 8) + 4 * MEMBER + 300 * 16
    voted = attacked.serial - clean.serial
    each = (RATES.votes.row_ns + 10 * RATES.votes.class_ns) * 1e-9 / 6
    read, written = attacked.read - clean.read, attacked.written - clean.written
    moved = read / RATES.read_mb_per_s + written / RATES.write_mb_per_s
    assert voted == pytest.approx(300 * 2 * 50 * each + moved * 1e-6)


@pytest.mark.parametrize(
    ("gflops", "megabytes", "code", "dimensions", "queries"),
    [(110, 1100, 512, 256, 100), (110, 1100, 1024, 256, 200), (400_000, 2000, 512, 256, 200_000)],
)
def test_above_how_many_queries_a_pass_is_bound_by_computing(gflops, megabytes, code, dimensions, queries):
    assert compute_bound_above(gflops, megabytes, code, dimensions) == queries


def test_what_bounds_a_search():
    assert Bound("clean", "conv_4_1", "All", "0-500", 101, 100).by == "computing"
    assert Bound("clean", "conv_4_1", "All", "0-500", 100, 100).by == "reading"
    rates = RATES.model_copy(update={"read_mb_per_s": 1.0})
    found = make_plan(load_config(RAW_CONFIG), FACTS, rates, cores=1, gpus=0).bounds
    assert [(one.batch, one.queries, one.by) for one in found] == [("clean", 300, "reading"), ("pgd", 600, "reading")]


# -- attacks


class Counting(nn.Module):
    """Counts the images that it sees, and those whose gradient is asked for."""

    def __init__(self, net):
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, images):
        self.forwards += len(images)
        if images.requires_grad:
            images.register_hook(self._count)
        return self.net(images)

    def _count(self, gradient):
        self.backwards += len(gradient)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fgsm", {}),
        ("ifgsm", {"steps": 3}),
        ("pgd", {"steps": 3}),
        ("pgd", {"steps": 3, "restarts": 2}),
        ("pgd_pr", {"steps": 3, "form": "soft"}),
        ("pgd_pr", {"steps": 2, "restarts": 2, "form": "soft"}),
        ("pgd_pr", {"steps": 2, "form": "literal"}),
        ("pgd_pr_hard", {"steps": 2}),
        ("pgd_pr_literal", {"steps": 2}),
    ],
)
def test_passes_are_those_that_attacks_make(name, options):
    images, labels = draw_images()
    model = Counting(Curved()).eval()
    run(make_attack(name, **options), model, images, labels, context=make_context(images))
    raw = changed(RAW_CONFIG, ("attacks", "methods"), {"pgd": {}, name: options})
    raw["attacks"]["white_box"] = {"pool": "All", "neighbors": NEIGHBORS, "ablated": "pgd_pr"}
    raw["attacks"]["methods"].setdefault("pgd_pr", {})
    found = attack_passes(load_config(raw), Pack(RAW, GRAY, name, (0.06,)))
    assert found == Passes(model.forwards / len(images), model.backwards / len(images))


def test_a_direction_is_searched_once_and_scaled_to_every_budget():
    images, labels = draw_images()
    model, attack = Counting(Curved()).eval(), make_attack("cw", steps=3, binary_search_steps=2)
    direction = attack.find_direction(model, images, labels, ball=RAW, rows=torch.arange(len(images)))
    searched = (model.forwards / len(images), model.backwards / len(images))
    raw = changed(RAW_CONFIG, ("attacks", "methods"), {"cw": {"steps": 3, "binary_search_steps": 2}, "pgd": {}})
    job = jobs_of(raw)["find_direction"][0]
    # Images that are wrong already take one gradient more, all of them together.
    assert (job.forward / 300, job.backward / 300) == (7, 7)
    assert searched in ((6, 6), (7, 7))
    model.forwards = model.backwards = 0
    run(attack, model, images, labels, context={"direction": direction})
    assert PASSES["cw"]({}, 1) == Passes(model.forwards / len(images), model.backwards)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_an_attack_through_a_defence_asks_at_most_as_often_as_is_planned(name):
    images, labels = grey()
    bound = Fake(slope(torch.ones(3, 6, 6)), always(1.0, 0.0))
    known = {one.name for one in fields(ATTACKS[name].load()) if one.init}
    options = {key: value for key, value in (("slack", ALWAYS), ("steps", 6)) if key in known}
    attack = make_attack(name, **options)
    networks = [lambda points: slope(torch.ones(3, 6, 6))(points, None, None)] * 2
    run(attack, bound, images, labels, context={"surrogates": networks}, measure_loss=False)
    planned = PASSES[name](vars(attack), len(networks))
    asked, climbed = len(bound.of(0)), sum(0 in rows for rows, *_ in bound.climbed)
    assert 0 < asked <= planned.asked
    assert climbed <= planned.backward
    if name in ("bpda", "unrolled", "square", "noise", "transfer"):
        assert asked == planned.asked
    if name in ("bpda", "unrolled"):
        assert climbed == planned.backward == 6


def test_every_attack_is_reckoned():
    assert set(PASSES) == set(ATTACKS)
    assert CLASSES < 10


def test_an_attacked_query_set():
    (job,) = jobs_of()["make_attack_set"]
    assert (job.rows, job.forward, job.backward) == (600, 600 * 12, 600 * 10)
    assert job.flop == 600 * 22 * 1000
    # Pixels in single precision, two losses, a flag, and a distance in each of three balls.
    assert job.written == 600 * (4 * 3 * 32**2 + 8 + 1 + 24) + 300 * 16 + 2 * 8 * MEMBER
    speed = RATES.other_networks
    assert job.parallel == pytest.approx((600 * 12 + 600 * 10 * speed.backward) * 1000 / (speed.gflops * 1e9))


def test_attacks_through_votes_search_the_database_and_others_are_not_known():
    adaptive = {"methods": {"noise": {}, "soft_retrieval": {"steps": 10}}, "epsilons": [0.06], "count": 20}
    raw = changed(RAW_CONFIG, ("attacks", "adaptive"), adaptive | {"full": ["knn", "crop_ensemble"]})
    raw["attacks"]["epsilons"] = [0.06]
    raw["defenses"] = {"crop_ensemble": {}}
    jobs = jobs_of(raw)["make_attack_set"]
    plain, *through = jobs
    assert plain.rows == 300
    assert [one.rows for one in through] == [20] * 4
    knn = through[1]
    passes = PASSES["soft_retrieval"]({"restarts": 1, "steps": 10, "refresh": 5, "temperatures": [1, 0.3, 3]}, 2)
    assert passes == Passes(2 + 30 + 7, 30, 7)
    assert knn.flop == 20 * ((39 + 30) * 1000 + 7 * 2 * 500 * 64)
    assert [math.isnan(one.flop) for one in through] == [False, False, True, True]
    assert len(jobs_of(raw)["attack_defense"]) == 3


def test_climbs_on_networks_are_made_once_for_all_defences():
    adaptive = {"methods": {"transfer": {"steps": 10}}, "epsilons": [0.06], "count": 20, "doubled": "transfer"}
    raw = changed(RAW_CONFIG, ("attacks", "adaptive"), adaptive | {"full": ["knn", "crop_ensemble"]})
    raw["attacks"]["epsilons"], raw["defenses"] = [0.06], {"crop_ensemble": {}}
    jobs = jobs_of(raw)
    (climbs,), (_, *through) = jobs["climb_networks"], jobs["make_attack_set"]
    # There is one network. Attacks have the losses, and two questions, of the image and of where it went.
    assert (climbs.rows, climbs.forward, climbs.backward) == (20, 20 * 10, 20 * 10)
    assert [(one.forward, one.backward) for one in through] == [(20 * 4, 0)] * 2


# -- what is not known


def test_unknown_sides_and_rows_are_not_guessed():
    folder = {"kind": "folder", "root": "nowhere"}
    raw = changed(RAW_CONFIG, ("images", "train"), folder)
    found = make_plan(load_config(raw), Facts({}, {}, {}), RATES, cores=1, gpus=0)
    stages = {one.script: one for one in found.stages}
    assert stages["extract_features"].jobs == 3
    assert stages["extract_features"].rows == 500
    for script in ("extract_features", "fit_pca", "make_attack_set", "search_span"):
        assert "cpu_hours" in stages[script].unknown, script
        assert stages[script].cpu_hours == 0
    assert {"rows", "written"} <= stages["list_images"].unknown
    assert found.bounds == [] or all(math.isnan(one.threshold) for one in found.bounds)
    # Votes need no pixels.
    assert stages["vote"].unknown == frozenset()


def test_numbers_of_jobs_need_nothing_but_the_configuration():
    def counts(facts):
        found = make_plan(load_config(RAW_CONFIG), facts, RATES, cores=1, gpus=0)
        return {one.script: one.jobs for one in found.stages}

    assert counts(FACTS) == counts(Facts({}, {}, {}))


def test_the_plan_names_what_takes_most():
    found = make_plan(load_config(RAW_CONFIG), FACTS, RATES, cores=1, gpus=0)
    script, share, label = found.dominant()
    most = max(found.stages, key=lambda one: one.cpu_hours)
    assert (script, label) == (most.script, "CPU hours")
    assert share == pytest.approx(most.cpu_hours / sum(one.cpu_hours for one in found.stages))


# -- rates


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"read_mb_per_s": 0}, "rates: read_mb_per_s: 0 is not allowed; allowed: a number > 0"),
        ({"disk": 3}, "rates: unknown key 'disk'; allowed: machine, "),
        ({"votes": {"row_ns": 1.0}}, "rates: votes: missing key 'class_ns'"),
    ],
)
def test_wrong_rates_are_one_line(change, text):
    with pytest.raises(ConfigError) as caught:
        check_rates(RATES.model_dump() | change)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
