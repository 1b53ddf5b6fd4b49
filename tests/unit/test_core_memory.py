"""Memory that runs out is recognised by what libraries say of it: real refusals, and texts of those not at hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nndefense.core.errors import FileFault
from nndefense.core.memory import OutOfMemory, shortage
from nndefense.models.batching import in_batches

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# As PyTorch 2.15, oneDNN, FAISS 1.15 and CUDA 13 word it.
SAID = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("could not create a memory object"),
    RuntimeError("could not create a primitive"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError(
        "Error: 'err == cudaSuccess' failed: StandardGpuResources: alloc fail (cudaMalloc error out of memory)"
    ),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    OutOfMemory("one image does not fit"),
    OSError(12, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("shapes do not match"),
    RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
    ValueError("out of memory"),
    FileFault("out of memory.npz: is damaged"),
    OSError(28, "No space left on device"),
]
# An allocation that fails is not tried in this process: what libraries do then is their affair.
PROVOKE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import faiss, numpy, torch
from nndefense.core.memory import is_out_of_memory
torch.set_num_threads(1)
numbers, convolution = torch.zeros(1, 8, 64, 64), torch.nn.Conv2d(8, 8, 3)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), resource.RLIM_INFINITY))
refused = {
    "numpy": lambda: numpy.zeros(1 << 30) + 1,
    "faiss": lambda: faiss.IndexFlatL2(1024).reconstruct_n(0, 1 << 22),
    "index": lambda: faiss.IndexFlatL2(64).codes.resize(1 << 33),
    "tensor": lambda: torch.empty(1 << 40),
    "topk": lambda: torch.zeros(1).expand(64, 1 << 22).topk(50),
    "convolution": lambda: convolution(numbers.expand(4096, -1, -1, -1)),
}
for name, allocate in refused.items():
    try:
        allocate()
        print(name, "fits")
    except Exception as error:
        print(name, is_out_of_memory(error), type(error).__name__, error)
"""


@pytest.mark.parametrize("error", SAID, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_batches_halve_until_they_fit_and_lose_no_row(error):
    sizes = []

    def compute(rows):
        sizes.append(rows.stop - rows.start)
        if sizes[-1] > 3:
            raise error
        return list(range(rows.start, rows.stop))

    assert [row for rows in in_batches(compute, 20, 16) for row in rows] == list(range(20))
    assert sizes == [16, 8, 4] + [2] * 10


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_other_errors_are_passed_on_at_once(error):
    tried = []

    def compute(rows):
        tried.append(rows)
        raise error

    with pytest.raises(type(error)) as caught:
        list(in_batches(compute, 8, 8))
    assert caught.value is error
    assert len(tried) == 1


def test_what_was_raised_because_of_it_is_the_same():
    def compute(rows):
        if rows.stop - rows.start > 1:
            try:
                raise SAID[5]
            except RuntimeError as error:
                raise FileFault("x.npz: is damaged") from error
        return rows.start

    assert list(in_batches(compute, 4, 4)) == [0, 1, 2, 3]


def test_one_row_that_does_not_fit_is_one_line_with_what_the_library_said():
    def refuse(rows):
        raise RuntimeError("CUDA error: out of memory\nsecond line")

    line = r"^out of memory \(CUDA error: out of memory\) with a batch of one of 8 queries: more memory is needed$"
    with pytest.raises(OutOfMemory, match=line):
        list(in_batches(refuse, 8, 8, "queries"))
    # Batches within batches: the inner ones have said it.
    with pytest.raises(OutOfMemory, match=line):
        list(in_batches(lambda rows: list(in_batches(refuse, 8, 8, "queries")), 4, 2))


def test_inner_batches_that_do_not_fit_are_tried_with_fewer_outer_ones():
    def outer(rows):
        def inner(_):
            if rows.stop - rows.start > 1:
                raise MemoryError
            return rows.start

        return next(in_batches(inner, 1, 1))

    assert list(in_batches(outer, 4, 4)) == [0, 1, 2, 3]


def test_nothing_said_is_nothing_shown():
    assert shortage(MemoryError()) == "out of memory"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_real_refusals_are_recognised():
    done = subprocess.run([sys.executable, "-c", PROVOKE, SCRIPTS], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["numpy", "faiss", "index", "tensor", "topk", "convolution"], (
        done.stderr
    )
    assert all(line.split()[1] == "True" for line in lines), lines


def test_votes_in_smaller_blocks_are_the_same_votes():
    from nndefense.retrieval.votes import vote_neighbors

    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(5), 40).astype(np.float32)
    ids, taken = rng.integers(0, 40, (12, 6)), []

    def take(some, most):
        taken.append(len(some))
        if len(some) > most:
            raise MemoryError
        return rows[some], np.ones((*some.shape, 2), np.float32), np.ones(some.shape, bool)

    axes = {"classes": 5, "neighbors": [3, 6], "weightings": ["UW"], "combinations": ["soft"]}
    whole, halved = (vote_neighbors(lambda some, most=most: take(some, most), ids, **axes) for most in (12, 2))
    assert taken[:4] == [12, 12, 6, 3]
    assert whole[1] == halved[1]
    assert all(np.array_equal(whole[0][key], halved[0][key]) for key in whole[0])


def test_noisy_copies_that_do_not_fit_together_are_asked_one_by_one():
    from nndefense.models.smoothing import noisy_answers

    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)

    def answers(most):
        def ask(noisy):
            if len(noisy) > most:
                raise RuntimeError("could not create a memory object")
            return noisy.flatten(1).numpy()

        found = noisy_answers(ask, images, np.arange(2), count=60, sigma=0.1, seed=1, batch=200)
        return np.concatenate([values for _, _, values in found])

    assert np.array_equal(answers(200), answers(1))
