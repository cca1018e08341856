"""Devices, precisions, and batches that become smaller when memory runs out."""

from __future__ import annotations

import itertools

import pytest
from pertharness import Skip
from pertharness_foundation.device import (
    autocast,
    choose_precision,
    first_size,
    in_batches,
    open_device,
)
from pertharness_foundation.memory import is_out_of_memory

torch = pytest.importorskip("torch")
CPU = torch.device("cpu")


class Memory:
    """A device that holds so many cells."""

    def __init__(self, holds, error=None):
        self.holds, self.error, self.asked = holds, error or torch.OutOfMemoryError("CUDA out of memory. 2 GiB"), []

    def compute(self, start, stop):
        self.asked.append(stop - start)
        if stop - start > self.holds:
            raise self.error
        return list(range(start, stop))


def test_batches_cover_all_items_in_order():
    memory = Memory(100)
    assert list(itertools.chain(*in_batches(10, memory.compute, size=4))) == list(range(10))
    assert memory.asked == [4, 4, 2]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
    ids=["cuda", "python", "cpu"],
)  # fmt: skip
def test_a_batch_that_does_not_fit_is_halved_and_says_so(error):
    memory, lines = Memory(3, error), []
    assert list(itertools.chain(*in_batches(10, memory.compute, size=8, say=lines.append))) == list(range(10))
    assert memory.asked == [8, 4, 2, 2, 2, 2, 2]
    assert lines == [
        "out of memory with 8 cells in a batch; going on with 4",
        "out of memory with 4 cells in a batch; going on with 2",
    ]


def test_a_cell_that_does_not_fit_is_a_skip():
    with pytest.raises(Skip, match=r"a single cell does not fit in the memory: CUDA out of memory. 2 GiB"):
        list(in_batches(3, Memory(0).compute, size=4, say=lambda line: None))


def test_other_errors_come_through():
    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches(3, Memory(0, RuntimeError("shapes differ")).compute, size=4))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_what_torch_raises_of_a_cpu_is_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


def test_a_cpu_computes_in_float32_and_in_batches_of_one_size():
    assert open_device("cpu") == CPU
    assert choose_precision(CPU, "auto", proven=True) == "float32"
    assert choose_precision(CPU, "float32", proven=False) == "float32"
    with pytest.raises(Skip, match=r"'bfloat16' needs a GPU .* this is cpu: take 'float32'"):
        choose_precision(CPU, "bfloat16", proven=True)
    assert first_size(CPU, 1e12, most=64) == 64
    with autocast(CPU, "float32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with autocast(CPU, "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_skip():
    with pytest.raises(Skip, match=r"asked for 'cuda:1'; torch .* use --device cpu"):
        open_device("cuda:1")
