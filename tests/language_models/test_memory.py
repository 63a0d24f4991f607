"""A model that cannot fit is refused before any of it is built."""

from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from plmdepth.errors import InputError
from plmdepth.language_models.size import n_parameters, weight_bytes
from plmdepth.language_models.weights import load_stack
from tests.stacks import EVERYWHERE, stack_of

ESM2 = EVERYWHERE["esm2"]


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
def test_parameters_are_counted_without_building_the_model(family: str) -> None:
    assert n_parameters(EVERYWHERE[family]) == stack_of(family).n_parameters


def test_the_weights_take_their_number_times_the_bytes_of_the_precision() -> None:
    assert weight_bytes(ESM2) == 4 * n_parameters(ESM2)
    assert weight_bytes(replace(ESM2, dtype="bfloat16")) == 2 * n_parameters(ESM2)


def test_a_model_larger_than_the_free_memory_is_refused_with_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=weight_bytes(ESM2)))
    with pytest.raises(InputError, match=r"esm2 needs 0\.0 GB .* model\.dtype=bfloat16, model\.placement=disk"):
        load_stack(ESM2, seed=0)
