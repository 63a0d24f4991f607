"""Running out of memory, told by the protein that it happened at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from plmdepth.errors import InputError
from plmdepth.proteins.protein import Protein

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
REMEDIES = (
    "lower dataset.tokens_per_batch or metric.max_rows, leave long proteins out with dataset.max_length=N "
    "dataset.length_policy=skip, or take model.dtype=bfloat16 or a device with more memory"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice, on the CPU or on a device."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextmanager
def reading(proteins: Sequence[Protein]) -> Iterator[None]:
    """Have memory that does not suffice while the context is open told by the longest of some proteins.

    Raises:
        InputError: memory did not suffice; the message names the protein, its length and the remedies.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (proteins and is_out_of_memory(error)):
            raise
        longest = max(proteins, key=len)
        others = f" and {len(proteins) - 1} shorter ones beside it" if len(proteins) > 1 else ""
        raise InputError(
            f"memory does not suffice for {longest.id} of {len(longest)} residues{others}; {REMEDIES}"
        ) from error
