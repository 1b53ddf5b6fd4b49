"""What is arranged for a GPU, with the CPU in its place: all but the kernels; and what of it never reaches the CPU."""

import argparse
import io
from contextlib import nullcontext
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch

import search_span as script
from nndefense import cli
from nndefense.attacks.base import value_and_gradient
from nndefense.config import load_config
from nndefense.core import command, devices
from nndefense.core.arrays import write_array, write_arrays
from nndefense.core.command import Job
from nndefense.core.errors import ConfigError
from nndefense.database.engines import on_gpu, stored
from nndefense.database.engines.exact import Exact
from nndefense.database.engines.stored import Span
from nndefense.database.engines.trained import train
from nndefense.database.lists import read_lists
from nndefense.features.encode import Encoder
from nndefense.features.extract import FeatureExtractor, extract_features, half_features
from nndefense.features.graph import GraphExtractor, compiled, graph_of
from nndefense.features.pca import Moments, fit_pca
from nndefense.flow.databases import span_names
from nndefense.flow.models import computing_values
from nndefense.flow.resources import search_memory, searches_on_gpu
from nndefense.models import computing, transfer
from nndefense.models.build import build_model, freeze
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.transfer import ahead
from tests.unit import device_cases as cases
from tests.unit.config_cases import SMALL
from tests.unit.device_cases import WAYS, World
from tests.unit.span_cases import ABOUT, drawn, write_indexes, write_shards


@pytest.fixture(scope="module")
def world():
    return World.make()


@pytest.fixture
def in_place(monkeypatch):
    """The CPU is taken for a GPU, and what compiles makes no machine code."""
    monkeypatch.setattr(devices, "accelerated", lambda device: True)
    monkeypatch.setattr(computing, "BACKEND", "eager")


@pytest.mark.parametrize(("device", "gpu"), [("cpu", False), ("cuda", True), ("cuda:1", True), ("mps", False)])
def test_a_gpu_is_told_by_the_name_of_the_device(device, gpu):
    assert devices.accelerated(device) == devices.accelerated(torch.device(device)) == gpu


# -- the CPU


def test_nothing_is_compiled_on_the_cpu(world):
    assert Computing(compiles=True).compiled(world.model, "cpu") is world.model
    extractor = FeatureExtractor(world.model, ["conv_4_1"])
    assert compiled(extractor, Computing(compiles=True), "cpu") is extractor


def test_blocks_stay_as_they_are_on_the_cpu():
    blocks = [(slice(0, 2), np.zeros((2, 4, 4, 3), np.uint8), {})]
    (found,) = ahead(iter(blocks), "cpu")
    assert found is blocks[0]


def test_searches_on_the_cpu_are_those_of_faiss():
    assert not Exact().on_torch
    assert Exact(device="cuda").on_torch


# -- a network in its place


@pytest.mark.parametrize("way", WAYS)
def test_features_and_votes_hardly_change(world, in_place, way):
    found, rows = cases.check_features(world, way, "cpu")
    cases.check_votes(world, way, "cpu")
    expected, softmax = world.features(world.queries, "cpu", SINGLE)
    # Where it is asked for, it is done.
    lower = WAYS[way].precision == "bf16"
    assert (rows.tobytes() != softmax.tobytes()) == lower
    assert all((found[layer].tobytes() != values.tobytes()) == lower for layer, values in expected.items())


@pytest.mark.parametrize("way", ["compiled", "bf16"])
def test_attacks_are_as_strong(world, in_place, way):
    cases.check_attack(world, way, "cpu")


@pytest.mark.parametrize("compiles", [False, True])
def test_networks_are_compiled_on_request(world, in_place, monkeypatch, compiles):
    seen = []

    def backend(graph, inputs):
        seen.append(graph)
        return graph.forward

    monkeypatch.setattr(computing, "BACKEND", backend)
    for use in (world.features, lambda images, *how: world.attacked(*how)):
        torch.compiler.reset()
        seen.clear()
        use(world.queries, "cpu", Computing(compiles=compiles))
        assert bool(seen) == compiles


def test_gradients_are_lowered_and_decisions_are_not(world, in_place):
    expected, found = (world.attacked("cpu", one) for one in (SINGLE, Computing("bf16")))
    assert found["loss_before"].tobytes() == expected["loss_before"].tobytes()
    assert found["images"].tobytes() != expected["images"].tobytes()
    assert found["images"].dtype == np.float32


def test_what_a_deployed_defence_looks_up_stays_exact(world, in_place):
    """Codes that an attack looks neighbours up by are those of the workflow, also in the middle of its gradient."""
    features = extract_features(FeatureExtractor(world.model, ["conv_4_1"]), world.queries)[0]["conv_4_1"]
    encoder = Encoder(world.model, "conv_4_1", fit_pca(moments_of(features), 8))
    expected = encoder.codes(world.queries[:20])
    with Computing("bf16").lowered("cpu"):
        assert encoder.codes(world.queries[:20]).tobytes() == expected.tobytes()
        codes = encoder(cases.to_tensor(world.queries[:20])).numpy()
    assert codes.dtype == np.float32
    assert np.abs(codes - expected).max() > 1e-3 * np.abs(expected).max()


def moments_of(features):
    return Moments.empty(features.shape[1]).update(features)


class Watched(torch.nn.Module):
    """A network that notes how products are rounded in its passes, forwards and backwards."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def note(self, _=None):
        self.seen.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))

    def forward(self, points):
        self.note()
        found = points.flatten(1)[:, :4] * 1.0
        if found.requires_grad:
            found.register_hook(self.note)
        return found


@pytest.fixture
def products():
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [one.fp32_precision for one in kinds]
    yield kinds
    for one, value in zip(kinds, before, strict=True):
        one.fp32_precision = value


@pytest.mark.parametrize(("precision", "inside"), [("exact", "ieee"), ("bf16", "ieee"), ("tf32", "tf32")])
def test_products_are_rounded_in_passes_of_gradients_alone(world, in_place, products, precision, inside):
    devices.exact_products()
    watched = Watched()
    model = world.model.around(watched)
    images = cases.to_tensor(world.queries[:3])
    _, gradient = value_and_gradient(lambda points: model(points).sum(dim=1), images, Computing(precision))
    model(images)
    assert watched.seen == [(inside, inside), (inside, inside), ("ieee", "ieee")]
    assert (gradient != 0).any()
    assert [one.fp32_precision for one in products] == ["ieee", "ieee"]


@pytest.mark.parametrize("gpu", [True, False])
def test_jobs_on_a_gpu_begin_with_exact_products(monkeypatch, products, gpu):
    monkeypatch.setattr(command, "claim_device", lambda gpus: ("cuda" if gpu else "cpu", "told"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for one in products:
        one.fp32_precision = "tf32"
    assert Job(io.StringIO(), 1, torch.get_num_threads()).torch_device() == ("cuda" if gpu else "cpu")
    assert [one.fp32_precision for one in products] == 2 * ["ieee" if gpu else "tf32"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_commands_on_a_gpu_compute_as_jobs_do(products, tmp_path, capsys, device):
    for one in products:
        one.fp32_precision = "tf32"
    assert cli.main(["predict", "none.png", "--results", str(tmp_path), "--device", device]) == 1
    assert "error: " in capsys.readouterr().err
    assert [one.fp32_precision for one in products] == 2 * ["ieee" if device == "cuda" else "tf32"]


@pytest.mark.parametrize("stop_early", [False, True])
@pytest.mark.parametrize(
    ("architecture", "layers"),
    [("cifar_resnet8", ["conv_2_1", "conv_4_1"]), ("resnet18", ["conv_4_2", "conv_2_1"]), ("resnet50", ["conv_3_4"])],
)
def test_a_graph_yields_the_bytes_of_hooks(architecture, layers, stop_early):
    model = freeze(build_model(architecture, 4, cases.MEAN, cases.STD))
    extractor = FeatureExtractor(model, layers, stop_early=stop_early)
    graph = graph_of(extractor)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected, softmax = extract_features(extractor, images)
    found, rows = extract_features(GraphExtractor(extractor, graph), images)
    assert all(found[layer].tobytes() == values.tobytes() for layer, values in expected.items())
    assert list(found) == layers
    assert (rows is None) == stop_early
    assert stop_early or rows.tobytes() == softmax.tobytes()
    # What follows the last layer is not computed.
    assert any(node.target == "fc" for node in graph.graph.nodes) == (not stop_early) or architecture[0] == "c"


def test_a_network_that_cannot_be_followed_is_not_compiled(in_place):
    class Asking(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, points):
            return self.net(points) if points.sum() > 0 else self.net(-points)

    model = build_model("cifar_resnet8", 4, cases.MEAN, cases.STD)
    extractor = FeatureExtractor(model, ["conv_2_1"])
    assert isinstance(compiled(extractor, Computing(compiles=True), "cpu"), GraphExtractor)
    model.net = Asking(model.net)
    assert compiled(extractor, Computing(compiles=True), "cpu") is extractor


# -- transfers in its place


class Lane:
    """A stream that notes what waits for what."""

    def __init__(self, name, told):
        self.name, self.told = name, told

    def wait_stream(self, other):
        self.told.append(f"{self.name} waits for {other.name}")


def test_the_next_block_is_on_its_way_while_one_is_computed(in_place, monkeypatch):
    told = []
    main, lane = Lane("main", told), Lane("lane", told)
    library = SimpleNamespace(Stream=lambda: lane, current_stream=lambda: main, stream=lambda one: nullcontext())
    monkeypatch.setattr(torch, "get_device_module", lambda device: library)
    send = transfer._send

    def noted(images, device):
        told.append(f"send {images[0]}")
        return send(images, device)

    monkeypatch.setattr(transfer, "_send", noted)
    blocks = [(slice(n, n + 1), np.array([n]), {n: "why"}) for n in range(3)]
    for place, images, unread in ahead(iter(blocks), "cpu"):
        assert images.tolist() == [place.start]
        assert list(unread) == [place.start]
        told.append(f"compute {place.start}")
    between = ["main waits for lane", "lane waits for main"]
    assert told == [
        *between, "send 0",
        *between, "send 1", "compute 0",
        *between, "send 2", "compute 1",
        "main waits for lane", "compute 2",
    ]  # fmt: skip
    assert list(ahead(iter([]), "cpu")) == []


@pytest.mark.parametrize("form", ["bytes", "floats", "read-only", "every other"])
def test_images_that_were_sent_give_the_same_features(world, in_place, form):
    images = world.queries[:40]
    if form == "floats":
        images = cases.to_tensor(images).numpy()
    if form == "read-only":
        images = images.copy()
        images.flags.writeable = False
    if form == "every other":
        images = images[::2]
    extractor = FeatureExtractor(world.model, ["conv_4_1"])
    ((_, sent, _),) = ahead([(slice(0, len(images)), images, {})], "cpu")
    assert sent.dtype == (torch.float32 if form == "floats" else torch.uint8)
    expected, found = (extract_features(extractor, one, batch=16) for one in (images, sent))
    assert found[0]["conv_4_1"].tobytes() == expected[0]["conv_4_1"].tobytes()
    assert found[1].tobytes() == expected[1].tobytes()


# -- searches in its place


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_codes_have_the_neighbours_that_faiss_finds(in_place, dtype):
    assert Exact().on_torch
    cases.check_exact_search("cpu", dtype)


@pytest.fixture
def with_gpus(in_place, monkeypatch):
    """FAISS as if it had a GPU: an index there is a copy that is no inverted file any more."""
    made, copies = [], []

    def put(resources, number, index):
        assert number == 0
        made.append((index.ntotal, faiss.extract_index_ivf(index).nprobe))
        own = faiss.IndexReplicas(index.d)
        # A replica is not owned.
        copies.append(faiss.clone_index(index))
        own.add_replica(copies[-1])
        return own

    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", put, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    on_gpu._resources.cache_clear()
    yield made
    on_gpu._resources.cache_clear()


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8", "OPQ4_16,IVF8,PQ4x4np"])
def test_inverted_files_are_searched_there(with_gpus, factory):
    cases.check_inverted_file("cpu", factory)
    # The first search of the case is that of the CPU, which is taken for a GPU as well.
    assert with_gpus == 2 * [(1000, 3), (2000, 3)]


def test_what_faiss_cannot_put_there_is_searched_on_the_cpu(with_gpus, monkeypatch):
    def refuse(resources, number, index):
        raise RuntimeError("This index type is not implemented on GPU.")

    shard = faiss.index_factory(8, "IVF2,Flat")
    shard.train(cases.normal(100, 8))
    assert on_gpu.on_device(shard, 5, 1, "cpu") is not None
    assert on_gpu.on_device(shard, 5000, 1, "cpu") is None
    assert on_gpu.on_device(shard, 5, 5000, "cpu") is None
    assert on_gpu.on_device(faiss.index_factory(8, "HNSW16"), 5, 1, "cpu") is None
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse)
    assert on_gpu.on_device(shard, 5, 1, "cpu") is None
    cases.check_inverted_file("cpu")


def test_a_job_without_a_gpu_leaves_those_of_others_alone(with_gpus, monkeypatch):
    monkeypatch.setattr(devices, "accelerated", lambda device: False)
    cases.check_inverted_file("cpu")
    assert with_gpus == []


def test_a_faiss_without_gpus_searches_on_the_cpu(in_place):
    assert not on_gpu.has_gpus() or faiss.get_num_gpus()
    cases.check_inverted_file("cpu")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_codes_on_disk_are_compared_where_they_are_asked_to_be(tmp_path, monkeypatch, device):
    asked = []
    monkeypatch.setattr(stored, "Exact", lambda device: asked.append(device) or Exact())
    span = Span(*write_shards(tmp_path, drawn(200, 6), (), np.array([], dtype=np.int64)))
    stored.search_span(span, [drawn(4, 6)], 5, [200], device=device)
    assert asked == [device]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_indexes_on_disk_are_searched_where_they_are_asked_to_be(tmp_path, monkeypatch, with_gpus, device):
    monkeypatch.setattr(devices, "accelerated", lambda device: device == "cuda")
    trained = train(drawn(400, 6), "IVF4,Flat")
    shards, rows = write_shards(tmp_path, drawn(200, 6), (90,), np.array([], dtype=np.int64))
    span = Span(write_indexes(tmp_path, trained, shards, rows), rows)
    stored.search_span(span, [drawn(4, 6)], 5, [200], 2, device)
    assert with_gpus == ([(90, 2), (110, 2)] if device == "cuda" else [])


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cpu"), (1, "cuda")])
def test_a_search_job_uses_the_gpu_that_it_was_given(tmp_path, monkeypatch, products, gpus, expected):
    shards, rows = write_shards(tmp_path, drawn(2000, 6), (), np.array([], dtype=np.int64))
    features = drawn(40, 12, seed=1)
    facts = {"start": 0, "stop": 40, "sets": ["clean"], "skipped": [], "model": ABOUT["model"], "layer": ABOUT["layer"]}
    write_array(tmp_path / "queries.npy", half_features(features), facts)
    write_arrays(tmp_path / "pca.npz", **vars(fit_pca(moments_of(features), 6)))
    asked, search = [], script.search_span

    def noted(*arguments):
        asked.append(arguments[-1])
        return search(*arguments[:-1])

    monkeypatch.setattr(script, "search_span", noted)
    monkeypatch.setattr(script, "Span", lambda *files, pca: Span(*files))
    monkeypatch.setattr(command, "claim_device", lambda gpus: ("cuda", "told"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    options = {"neighbors": 5, "probes": 1, "stops": [2000], "threads": torch.get_num_threads(), "gpus": gpus}
    files = {"queries": [tmp_path / "queries.npy"], "pca": tmp_path / "pca.npz", "shards": shards, "skipped": rows}
    output = tmp_path / "lists.npz"
    script.main(argparse.Namespace(**options, **files, neighbors_files=[output]), Job(io.StringIO(), gpus, 1))
    assert asked == [expected]
    assert read_lists(output, [2000])["ids"].shape == (1, 1, 40, 5)


# -- the configuration


def test_jobs_are_told_what_differs_from_the_default():
    config = load_config(SMALL)
    assert computing_values(config) == {}
    lowered = load_config(SMALL | {"precision": "bf16", "compile": True})
    assert computing_values(lowered) == {"precision": "bf16", "compile": True}
    assert computing_values(lowered, attacks=True) == computing_values(lowered)


def test_searches_ask_for_a_gpu_where_the_configuration_says_so():
    def asked(**keys):
        config = load_config(SMALL | keys)
        pool = next(iter(config.pools))
        return searches_on_gpu(config), search_memory(config, [], pool, span_names(config, pool)[0])

    none, least = asked()
    assert none == 0
    index = SMALL.get("index", {})
    assert asked(index=index | {"gpu": True}) == (1, least + 3000)
    assert asked(index=index | {"gpu": True}, gpu=0) == (0, least)


@pytest.mark.parametrize("value", ["fp16", True])
def test_other_precisions_are_refused(value):
    with pytest.raises(ConfigError, match=r"^precision: .* allowed: .*exact.*tf32.*bf16"):
        load_config(SMALL | {"precision": value})
