import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plmdepth.proteins.letters import NONCANONICAL, UnusableRecordError, clean_letters
from plmdepth.proteins.protein import CANONICAL

RESIDUES = CANONICAL + NONCANONICAL


def reason(text: str) -> str:
    with pytest.raises(UnusableRecordError) as caught:
        clean_letters(text)
    return str(caught.value)


def test_the_alphabet_is_the_twenty_amino_acids_and_six_more() -> None:
    assert sorted(CANONICAL) == list("ACDEFGHIKLMNPQRSTVWY")
    assert sorted(NONCANONICAL) == list("BJOUXZ")


def test_a_clean_sequence_passes_unchanged_and_uncounted() -> None:
    cleaned = clean_letters("MKTVACDE")
    assert cleaned.sequence == "MKTVACDE"
    assert cleaned.changes == {}


def test_lower_case_is_raised_and_counted_letter_by_letter() -> None:
    cleaned = clean_letters("MKaaaV")
    assert cleaned.sequence == "MKAAAV"
    assert cleaned.changes == {"lower case raised": 3}


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\r\n"])
def test_white_space_is_dropped_and_counted(space: str) -> None:
    cleaned = clean_letters(f"MK{space}TV{space}")
    assert cleaned.sequence == "MKTV"
    assert cleaned.changes == {"white space dropped": 2 * len(space)}


@pytest.mark.parametrize("text", ["MKTV*", "MKTV*\n", "MKTV *"])
def test_one_closing_stop_is_dropped_and_counted(text: str) -> None:
    cleaned = clean_letters(text)
    assert cleaned.sequence == "MKTV"
    assert cleaned.changes["closing stop dropped"] == 1


@pytest.mark.parametrize("letter", list("UOBZXJ"))
def test_a_letter_outside_the_twenty_is_kept(letter: str) -> None:
    cleaned = clean_letters(f"M{letter}K{letter.lower()}")
    assert cleaned.sequence == f"M{letter}K{letter}"
    assert cleaned.changes == {"lower case raised": 1}


def test_all_changes_of_one_record_are_counted_side_by_side() -> None:
    cleaned = clean_letters("mk xV*\n")
    assert cleaned.sequence == "MKXV"
    assert cleaned.changes == {
        "white space dropped": 2,
        "closing stop dropped": 1,
        "lower case raised": 3,
    }


@pytest.mark.parametrize("text", ["", "  \n", "*", " * "])
def test_a_record_without_a_letter_is_unusable(text: str) -> None:
    assert reason(text) == "empty sequence"


@pytest.mark.parametrize(
    ("text", "named", "position"),
    [
        ("MK-TV", "gap '-'", 3),
        ("-", "gap '-'", 1),
        ("MK.", "gap '.'", 3),
        ("M*K", "stop '*'", 2),
        ("MK**", "stop '*'", 3),
        ("MK1", "'1'", 3),
        ("M?K", "'?'", 2),
        ("MK\x00", r"'\x00'", 3),
        ("MKÉ", "'É'", 3),
    ],
)
def test_anything_else_is_unusable_and_named_with_its_position(text: str, named: str, position: int) -> None:
    message = reason(text)
    assert named in message
    assert f"position {position}" in message


@pytest.mark.parametrize("letter", ["\u00df", "\ufb01", "\u017f", "\u0131", "\u0149"])
def test_a_foreign_letter_whose_upper_case_looks_like_residues_is_unusable(letter: str) -> None:
    assert "position 3" in reason(f"MK{letter}")


@given(st.text(alphabet=RESIDUES + RESIDUES.lower() + " \n\t", max_size=60), st.booleans())
@settings(deadline=None)
def test_every_residue_stays_exactly_one_residue(text: str, stop: bool) -> None:
    letters = [letter for letter in text if not letter.isspace()]
    if not letters:
        return
    cleaned = clean_letters(text + "*" * stop)
    assert list(cleaned.sequence) == [letter.upper() for letter in letters]
    assert cleaned.changes["white space dropped"] == len(text) - len(letters)
    assert cleaned.changes["closing stop dropped"] == stop


@given(st.text(max_size=30))
@example("\u00df")
@example("A\ufb01K")
@settings(deadline=None)
def test_any_text_is_refused_or_keeps_its_length(text: str) -> None:
    try:
        cleaned = clean_letters(text)
    except UnusableRecordError:
        return
    shown = "".join(text.split()).removesuffix("*")
    assert len(cleaned.sequence) == len(shown)
    assert set(cleaned.sequence) <= set(RESIDUES)


@given(st.text(alphabet=RESIDUES, min_size=1, max_size=40))
@settings(deadline=None)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean_letters(clean_letters(text).sequence).sequence == clean_letters(text).sequence
