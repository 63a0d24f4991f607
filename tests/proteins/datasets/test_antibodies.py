"""The bundled chains of antibodies."""

from importlib.resources import files

import pytest

from plmdepth.proteins.datasets.antibodies import AntibodyDataset
from plmdepth.proteins.protein import CANONICAL


def test_there_are_two_chains_an_antibody_of_plain_residues() -> None:
    found = AntibodyDataset(name="antibodies").proteins(510, seed=0)
    assert len(found.proteins) == 200
    assert found.skipped == ()
    assert found.changes == {"residues outside the twenty": 0} or not any(found.changes.values())
    assert set("".join(each.sequence for each in found.proteins)) == set(CANONICAL)
    assert len({each.sequence for each in found.proteins}) == 200


@pytest.mark.parametrize(("chain", "longest"), [("heavy", 142), ("light", 126)])
def test_a_chain_alone_fits_the_model_of_that_chain(chain: str, longest: int) -> None:
    found = AntibodyDataset(name="antibodies", chain=chain).proteins(longest, seed=0)  # type: ignore[arg-type]
    assert len(found.proteins) == 100
    assert {each.id.rpartition("_")[2] for each in found.proteins} == {chain}


def test_the_source_and_the_licence_stand_beside_them() -> None:
    text = (files("plmdepth") / "bundled" / "antibodies" / "README.md").read_text(encoding="utf-8")
    assert "Merck/BioPhi-2021-publication" in text
    assert "MIT" in text
