"""Mutants become sequences; numbers that start elsewhere are recovered from the letters, or refused."""

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.tables.mutants import (
    Parent,
    changed_positions,
    common_parent,
    numbered_parent,
    parse_mutant,
    read_parent,
)

PARENT = "MKTVRQERLKSIVRILERSK"


@pytest.mark.parametrize("text", ["K2A:V4W", "K2A;V4W", "K2A,V4W", "k2a:v4w", "K2A V4W"])
def test_substitutions_are_read_in_every_usual_spelling(text: str) -> None:
    assert Parent(PARENT).mutated(parse_mutant(text)) == "MATWRQERLKSIVRILERSK"


@pytest.mark.parametrize("text", ["WT", "wt", "wild-type", ""])
def test_the_wild_type_substitutes_nothing(text: str) -> None:
    assert parse_mutant(text) == ()


@pytest.mark.parametrize("text", ["A", "23T", "A23", "A23del", "p.Ala23Thr"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no substitution"):
        parse_mutant(text)


@pytest.mark.parametrize("offset", [-3, 0, 1, 24, 1000])
def test_the_offset_is_recovered_from_the_letters(offset: int) -> None:
    rows = {row: parse_mutant(f"{PARENT[row]}{row + 1 + offset}A") for row in (1, 4, 9, 16, 19)}
    assert numbered_parent(PARENT, rows) == Parent(PARENT, offset)


def test_a_parent_that_does_not_fit_names_the_row() -> None:
    with pytest.raises(InputError, match=r"row 7: W3A does not fit dataset.parent, which has T there"):
        numbered_parent(PARENT, {5: parse_mutant("K2A"), 7: parse_mutant("W3A")})


def test_offsets_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InputError, match=r"fit dataset.parent at 18 offsets"):
        numbered_parent("A" * 20, {1: parse_mutant("A30G"), 2: parse_mutant("A32G")})


def test_a_parent_is_a_file_or_a_sequence(tmp_path) -> None:  # type: ignore[no-untyped-def]
    one, two = tmp_path / "one.fasta", tmp_path / "two.fasta"
    one.write_text(">p\nMKTV\nRQ\n")
    two.write_text(">p\nMKTV\n>q\nMK\n")
    assert read_parent(str(one)) == "MKTVRQ"
    assert read_parent("mktv") == "MKTV"
    with pytest.raises(InputError, match="2 records"):
        read_parent(str(two))
    with pytest.raises(InputError, match="neither a file nor a sequence"):
        read_parent("missing.fasta")


def test_the_parent_of_mutants_is_their_commonest_letter() -> None:
    mutants = [PARENT[:k] + "W" + PARENT[k + 1 :] for k in range(10)]
    assert common_parent(mutants) == PARENT
    assert changed_positions(mutants[3], PARENT) == {3}
    assert common_parent(["MKTV", "MKT"]) is None
    assert common_parent(["ACDEFGHIKL", "MNPQRSTVWY", "YWVTSRQPNM"]) is None
