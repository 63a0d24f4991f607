import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta
from plmdepth.proteins.protein import CANONICAL, Protein, Skipped
from plmdepth.proteins.selection import ProteinSet, Rules, select

Records = list[tuple[str, str]]
TWENTY: Records = [(f"p{number}", CANONICAL[number:] + CANONICAL[:number]) for number in range(20)]


def selected(records: Records, **rules: Any) -> ProteinSet:
    return select(records, Rules(**{"max_length": 50, **rules}))


def refusal(records: Records, **rules: Any) -> str:
    with pytest.raises(InputError) as caught:
        selected(records, **rules)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def ids(chosen: ProteinSet) -> list[str]:
    return [protein.id for protein in chosen.proteins]


def test_clean_records_become_proteins_in_their_order() -> None:
    chosen = selected([("b", "MKTV"), ("a", "ACDE")])
    assert chosen.proteins == (Protein("b", "MKTV"), Protein("a", "ACDE"))
    assert chosen.skipped == ()
    assert chosen.changes == {}


def test_changed_letters_are_summed_over_all_records() -> None:
    chosen = selected([("a", "mkTV*"), ("b", "acXX"), ("c", "M K*")])
    assert [protein.sequence for protein in chosen.proteins] == ["MKTV", "ACXX", "MK"]
    assert chosen.changes == {
        "closing stop dropped": 2,
        "lower case raised": 4,
        "residues outside the twenty": 2,
        "white space dropped": 1,
    }


@pytest.mark.parametrize(
    ("text", "named"), [("", "empty sequence"), ("MK-V", "gap '-'"), ("M*K", "stop '*'"), ("MK4", "'4'")]
)
def test_a_record_that_is_no_protein_is_skipped_with_its_reason(text: str, named: str) -> None:
    chosen = selected([("good", "MKTV"), ("bad", text)])
    assert ids(chosen) == ["good"]
    (skipped,) = chosen.skipped
    assert (skipped.id, skipped.length) == ("bad", len(text))
    assert named in skipped.reason


def test_the_letters_of_a_skipped_record_are_not_counted_as_changed() -> None:
    assert selected([("good", "MKTV"), ("bad", "mktv-")]).changes == {}


def test_a_record_that_is_no_protein_can_stop_the_run() -> None:
    message = refusal([("good", "MKTV"), ("bad", "MK-V")], invalid="error")
    assert "bad" in message
    assert "gap '-'" in message


def test_only_the_first_record_of_an_id_is_kept() -> None:
    chosen = selected([("a", "MKTV"), ("b", "ACDE"), ("a", "GGGG")])
    assert chosen.proteins == (Protein("a", "MKTV"), Protein("b", "ACDE"))
    assert [(skipped.id, skipped.kind) for skipped in chosen.skipped] == [("a", "duplicate id")]


def test_a_duplicate_id_can_stop_the_run() -> None:
    assert "duplicate id" in refusal([("a", "MKTV"), ("a", "MKTV")], invalid="error")


def test_a_skipped_record_does_not_take_its_id() -> None:
    assert selected([("a", "MK-V"), ("a", "ACDE")]).proteins == (Protein("a", "ACDE"),)


def test_two_ids_may_have_one_sequence() -> None:
    assert ids(selected([("a", "MKTV"), ("b", "MKTV")])) == ["a", "b"]


@pytest.mark.parametrize("policy", ["error", "truncate", "skip"])
def test_a_sequence_at_the_limit_is_kept_whole(policy: str) -> None:
    chosen = selected([("a", "MKTVA")], max_length=5, length_policy=policy)
    assert chosen.proteins == (Protein("a", "MKTVA"),)
    assert chosen.changes == {}


def test_a_longer_sequence_is_refused_by_name() -> None:
    message = refusal([("short", "MK"), ("long", "MKTVAC")], max_length=5)
    assert "long has 6 residues, the limit is 5" in message
    assert "dataset.length_policy=truncate" in message


def test_a_longer_sequence_is_truncated_and_counted() -> None:
    chosen = selected(
        [("short", "MK"), ("long", "MKTVAC"), ("longer", "ACDEFGHI")], max_length=5, length_policy="truncate"
    )
    assert [protein.sequence for protein in chosen.proteins] == ["MK", "MKTVA", "ACDEF"]
    assert chosen.changes == {"sequences truncated": 2}


def test_a_longer_sequence_is_skipped_and_listed() -> None:
    chosen = selected([("short", "MK"), ("long", "MKTVAC")], max_length=5, length_policy="skip")
    assert ids(chosen) == ["short"]
    assert [(skipped.id, skipped.length) for skipped in chosen.skipped] == [("long", 6)]
    assert "5" in chosen.skipped[0].kind
    assert "(6)" in chosen.skipped[0].reason


def test_a_longer_sequence_is_skipped_also_where_invalid_records_stop_the_run() -> None:
    chosen = selected([("short", "MK"), ("long", "MKTVAC")], max_length=5, length_policy="skip", invalid="error")
    assert ids(chosen) == ["short"]
    assert [skipped.id for skipped in chosen.skipped] == ["long"]


def test_formatting_does_not_count_towards_the_length() -> None:
    assert selected([("a", "MK TV\nA*")], max_length=5).proteins == (Protein("a", "MKTVA"),)


def test_skipped_records_are_counted_by_kind_without_their_detail() -> None:
    assert Skipped("a", 9, "longer than 5 residues (9)").kind == "longer than 5 residues"
    assert Skipped("a", 0, "empty sequence").kind == "empty sequence"


@pytest.mark.parametrize("records", [[], [("a", ""), ("b", "MK-V")]])
def test_nothing_left_to_measure_is_refused(records: Records) -> None:
    assert "no protein is left to measure" in refusal(records)


def test_a_limit_keeps_that_many() -> None:
    chosen = selected(TWENTY, limit=7)
    assert len(chosen.proteins) == 7
    assert {(protein.id, protein.sequence) for protein in chosen.proteins} <= set(TWENTY)


@pytest.mark.parametrize("limit", [None, 20, 100])
def test_a_limit_that_does_not_bind_changes_nothing(limit: int | None) -> None:
    assert ids(selected(TWENTY, limit=limit)) == [identifier for identifier, _ in TWENTY]


@given(st.permutations(TWENTY), st.integers(min_value=1, max_value=19))
@settings(deadline=None, max_examples=30)
def test_what_a_limit_keeps_does_not_depend_on_the_order_of_the_records(records: Records, limit: int) -> None:
    assert ids(selected(records, limit=limit)) == ids(selected(TWENTY, limit=limit))


def test_a_smaller_limit_keeps_the_first_of_a_larger_one() -> None:
    assert ids(selected(TWENTY, limit=4)) == ids(selected(TWENTY, limit=9))[:4]


def test_a_limit_chooses_by_seed_and_not_by_position() -> None:
    choices = {tuple(ids(selected(TWENTY, limit=5, seed=seed))) for seed in range(10)}
    assert len(choices) == 10
    assert ids(selected(TWENTY, limit=5)) != [identifier for identifier, _ in TWENTY[:5]]


def test_a_limit_keeps_every_record_equally_often() -> None:
    kept = [identifier for seed in range(400) for identifier in ids(selected(TWENTY, limit=5, seed=seed))]
    counts = [kept.count(identifier) for identifier, _ in TWENTY]
    assert max(abs(count - 100) for count in counts) < 5 * (400 * 0.25 * 0.75) ** 0.5


def test_a_limit_counts_usable_records_only() -> None:
    assert len(selected([("bad", "-"), *TWENTY], limit=20).proteins) == 20


def test_the_digest_is_the_hash_of_the_sorted_ids_and_sequences() -> None:
    expected = hashlib.sha256(b"a\tACDE\nb\tMKTV").hexdigest()
    assert selected([("b", "MKTV"), ("a", "ACDE")]).digest == expected


def test_the_digest_does_not_depend_on_file_or_order(tmp_path: Path) -> None:
    plain, packed = tmp_path / "one.fasta", tmp_path / "two.gz"
    plain.write_bytes(b">a\nMKTV\n>b\nACDE\n")
    packed.write_bytes(gzip.compress(b">b other words\r\nAC\r\nDE\r\n>a\r\nmktv\r\n"))
    one, two = (select(read_fasta(path), Rules(max_length=50)) for path in (plain, packed))
    assert one.digest == two.digest


@pytest.mark.parametrize(
    "other",
    [[("a", "MKTV"), ("b", "ACDF")], [("a", "MKTV"), ("c", "ACDE")], [("a", "MKTV")], [("b", "MKTV"), ("a", "ACDE")]],
)
def test_the_digest_depends_on_every_id_and_sequence(other: Records) -> None:
    assert selected(other).digest != selected([("a", "MKTV"), ("b", "ACDE")]).digest


@given(st.lists(st.text(alphabet=CANONICAL + "XUacdk-1* ", max_size=12), min_size=1, max_size=12))
@settings(deadline=None)
def test_every_record_is_kept_or_listed_as_skipped(texts: list[str]) -> None:
    records = [(f"p{number}", text) for number, text in enumerate(texts)] + [("good", "MK")]
    chosen = selected(records, max_length=6, length_policy="skip")
    assert sorted(ids(chosen) + [skipped.id for skipped in chosen.skipped]) == sorted(name for name, _ in records)
    assert all(0 < len(protein) <= 6 for protein in chosen.proteins)


def test_real_proteins_of_any_length_are_all_accounted_for(shared_data: Path) -> None:
    path = shared_data / "subcellular_deeploc/deeploc_test_set.fasta"
    chosen = select(read_fasta(path), Rules(max_length=1022, length_policy="skip"))
    longer = sum(len(text) > 1022 for _, text in read_fasta(path))
    assert longer > 100
    assert len(chosen.skipped) == longer
    assert {skipped.kind for skipped in chosen.skipped} == {"longer than 1022 residues"}
    assert len(chosen.proteins) == 2339 - longer


def test_real_proteins_of_any_length_can_be_truncated(shared_data: Path) -> None:
    path = shared_data / "subcellular_deeploc/deeploc_test_set.fasta"
    texts = dict(read_fasta(path))
    chosen = select(read_fasta(path), Rules(max_length=1022, length_policy="truncate"))
    assert len(chosen.proteins) == 2339
    assert all(protein.sequence == texts[protein.id][:1022] for protein in chosen.proteins)
    assert chosen.changes["sequences truncated"] == sum(len(text) > 1022 for text in texts.values())


def test_only_what_is_measured_is_counted() -> None:
    records = [("a", "MKXX"), ("b", "mkt"), ("c", "MKTX")]
    limited = select(records, Rules(max_length=3, length_policy="truncate", limit=1, seed=3))
    (kept,) = limited.proteins
    counts = {
        "a": {"residues outside the twenty": 1, "sequences truncated": 1},
        "b": {"lower case raised": 3},
        "c": {"sequences truncated": 1},
    }
    assert limited.changes == counts[kept.id]


def test_copies_of_a_sequence_are_drawn_as_one_in_any_order() -> None:
    records = [("b", "MKV"), ("c", "MKT"), ("a", "MKV"), ("d", "mkv")]
    for order in (records, records[::-1]):
        drawn = {each.id: each.copy_of for each in select(order, Rules(max_length=10)).proteins}
        assert drawn == {"a": "a", "b": "a", "c": None, "d": "a"}
