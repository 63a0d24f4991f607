import pytest
import torch

from plmdepth.errors import InputError
from plmdepth.proteins.memory import is_out_of_memory, reading
from plmdepth.proteins.protein import Protein

TWO = (Protein("short", "MK"), Protein("titin", "M" * 34350))
ALLOCATOR = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(ALLOCATOR),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_does_not_suffice_is_told_by_the_longest_protein(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(InputError) as caught, reading(TWO):
        raise error
    message = str(caught.value)
    assert message.startswith(
        "memory does not suffice for titin of 34350 residues and 1 shorter ones beside it; lower "
    )
    assert "dataset.tokens_per_batch" in message
    with pytest.raises(InputError, match="for short of 2 residues; "), reading(TWO[:1]):
        raise error


def test_what_torch_says_today_is_recognised() -> None:
    with pytest.raises(InputError, match="for short of 2 residues; "), reading(TWO[:1]):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("out of memory"), InputError("no")])
def test_any_other_error_goes_on_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, reading(TWO):
        raise error
    assert caught.value is error


def test_without_a_protein_the_error_goes_on_as_it_is() -> None:
    with pytest.raises(MemoryError), reading(()):
        raise MemoryError
