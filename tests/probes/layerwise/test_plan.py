"""What features take is known beforehand; too many vectors of proteins are refused, too many residues are not kept."""

from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.probes.layerwise.plan import FeaturePlan, stack_shape
from tests.stacks import ALL, stack_of


def plan(**changes: object) -> FeaturePlan:
    known = {"n_proteins": 1234, "n_residues": None, "n_layers": 13, "width": 480, "dtype": "float32"}
    known |= {"cache": True, "gigabytes": 50.0, "folder": Path("outputs/features/m")}
    return FeaturePlan(**(known | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_shape_is_that_of_the_stack(name: str) -> None:
    stack = stack_of(name)
    assert stack_shape(ALL[name]) == (stack.n_layers, stack.width)


def test_the_line_says_how_much_and_where() -> None:
    line = "features: 1,234 proteins x 13 layers x 480 = 0.03 GB in float32, kept in outputs/features/m"
    assert str(plan()) == line
    many = plan(n_residues=300_000, dtype="float16", cache=False)
    assert str(many) == (
        "features: 1,234 proteins (300,000 residues) x 13 layers x 480 = 3.74 GB in float16, "
        "not kept: the model runs in every epoch"
    )
    assert many.n_bytes == 300_000 * 13 * 480 * 2


def test_too_many_vectors_of_proteins_are_refused() -> None:
    plan(gigabytes=0.031).check()
    with pytest.raises(InputError, match=r"1234 proteins take 0\.03 GB, probe\.cache_gigabytes is 0\.03; raise it, or"):
        plan(gigabytes=0.03).check()
    plan(gigabytes=0.03, cache=False).check()


def test_too_many_residues_are_not_kept() -> None:
    big = plan(n_residues=300_000, gigabytes=7)
    big.check()
    assert not big.kept
    assert str(big).endswith("not kept (probe.cache_gigabytes is 7): the model runs in every epoch")
    assert plan(n_residues=300_000, gigabytes=7.5).kept
