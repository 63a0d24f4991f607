import gzip
import statistics
from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.fasta import read_fasta

TWO_RECORDS = b">first a protein\nMKTV\nAC\n>second\nGGG\n"
TWO_EXPECTED = [("first", "MKTVAC"), ("second", "GGG")]


def written(folder: Path, content: bytes, name: str = "proteins.fasta") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def records(folder: Path, content: bytes, name: str = "proteins.fasta") -> list[tuple[str, str]]:
    return list(read_fasta(written(folder, content, name)))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(read_fasta(path))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def test_a_plain_file_is_read_record_by_record(tmp_path: Path) -> None:
    assert records(tmp_path, TWO_RECORDS) == TWO_EXPECTED


def test_a_file_without_a_closing_newline_keeps_its_last_record(tmp_path: Path) -> None:
    assert records(tmp_path, TWO_RECORDS.rstrip()) == TWO_EXPECTED


@pytest.mark.parametrize("name", ["proteins.fasta.gz", "proteins.fasta", "proteins"])
def test_a_gzip_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    assert records(tmp_path, gzip.compress(TWO_RECORDS), name) == TWO_EXPECTED


def test_a_plain_file_named_gz_is_read_as_plain(tmp_path: Path) -> None:
    assert records(tmp_path, TWO_RECORDS, "proteins.fasta.gz") == TWO_EXPECTED


def test_a_gzip_file_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    members = gzip.compress(b">first\nMKTVAC\n") + gzip.compress(b">second\nGGG\n")
    assert records(tmp_path, members) == TWO_EXPECTED


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_foreign_line_ends_are_no_part_of_a_sequence(tmp_path: Path, line_end: bytes) -> None:
    assert records(tmp_path, TWO_RECORDS.replace(b"\n", line_end)) == TWO_EXPECTED


@pytest.mark.parametrize("compress", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path: Path, compress: bool) -> None:
    content = b"\xef\xbb\xbf" + TWO_RECORDS
    assert records(tmp_path, gzip.compress(content) if compress else content) == TWO_EXPECTED


def test_comment_and_blank_lines_are_no_part_of_a_sequence(tmp_path: Path) -> None:
    content = b"; made by hand\n\n>first\n;in the middle\nMKTV\n\nAC\n;between\n>second\nGGG\n"
    assert records(tmp_path, content) == TWO_EXPECTED


def test_the_id_is_the_first_word_of_the_header(tmp_path: Path) -> None:
    assert records(tmp_path, b">sp|P1|X_Y Some protein OS=Z\nMK\n> spaced\tname\nAC\n") == [
        ("sp|P1|X_Y", "MK"),
        ("spaced", "AC"),
    ]


def test_a_header_without_a_name_gets_its_number(tmp_path: Path) -> None:
    assert records(tmp_path, b">\nMK\n>named\nAC\n>  \nGG\n") == [
        ("record_1", "MK"),
        ("named", "AC"),
        ("record_3", "GG"),
    ]


def test_a_record_without_a_sequence_is_still_a_record(tmp_path: Path) -> None:
    assert records(tmp_path, b">empty\n>full\nMK\n>last\n") == [("empty", ""), ("full", "MK"), ("last", "")]


def test_the_letters_of_a_sequence_are_left_as_they_are(tmp_path: Path) -> None:
    assert records(tmp_path, b">a\nmk-TV*\nX U\n") == [("a", "mk-TV*X U")]


def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    content = TWO_RECORDS + b">long\n" + b"MKTV\n" * 50_000 + b"\xff\n"
    assert next(read_fasta(written(tmp_path, content))) == ("first", "MKTVAC")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.fasta")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"; only a comment\n", gzip.compress(b"", mtime=0)])
def test_a_file_without_a_record_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "no FASTA record" in refusal(written(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)),
        ">a\nMK\n".encode("utf-16"),
        b">caf\xe9\nMK\n",
        gzip.compress(b"\x89PNG\r\n\x1a\n\xff", mtime=0),
    ],
    ids=["bytes", "utf-16", "latin-1", "gzipped bytes"],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    assert "no text file" in refusal(written(tmp_path, content))


def test_bytes_that_are_no_text_are_refused_late_in_a_file_too(tmp_path: Path) -> None:
    assert "no text file" in refusal(written(tmp_path, b">a\n" + b"MKTV\n" * 20_000 + b"\xff\n"))


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"MKTV\n>a\nMK\n", "MKTV"),
        (b"HEADER    HYDROLASE   01-JAN-01   1ABC\nATOM      1\n", "HEADER    HYDROLASE"),
        (b'{"a": "MK"}\n', '{"a": "MK"}'),
        (b"id\tsequence\na\tMK\n", r"id\tsequence"),
    ],
)
def test_text_that_is_no_fasta_is_refused_with_how_it_begins(tmp_path: Path, content: bytes, shown: str) -> None:
    message = refusal(written(tmp_path, content))
    assert "no FASTA file" in message
    assert shown in message


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b">a\n" + b"MKTV" * 500)[:-12],
        gzip.compress(b">a\nMK\n")[:-8] + bytes(8),
        gzip.compress(b">a\nMK\n") + b"garbage",
        b"\x1f\x8b",
    ],
    ids=["truncated", "wrong checksum", "something behind it", "nothing but the first bytes"],
)
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "damaged gzip file" in refusal(written(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("sequences/random_natural_2000.fasta", 2000),
        ("sequences/pretrain_valid.fasta", 600),
        ("subcellular_deeploc/deeploc_our_val_set.fasta", 1666),
        ("subcellular_deeploc/deeploc_test_set.fasta", 2339),
        ("subcellular_deeploc/setHARD.fasta", 398),
        ("go_yeast_sgd/S_Cerevisiae.fasta", 4062),
        ("go_deepfri_fixture/nrPDB-GO_2019.06.18_sequences.fasta", 7),
        ("ec_deepfri/nrPDB-EC_2020.04_sequences.fasta", 3748 + 394 + 1519),
        ("fold_cath/cath_single_domain_chains.fasta", 3692),
        ("secondary_structure/flip_secondary_structure/sequences.fasta", 2000 + 300 + 264),
        ("structure_tokens_3di/ec_test_aa.fasta", 250),
        ("structure_tokens_3di/i3d_paired_aa.fasta", 21),
        ("structures/pdb_ec_test/seqres.fasta", 18),
        ("structures/deepfri_examples/pdb_chains.fasta", 4),
    ],
)
def test_a_real_file_holds_the_records_that_its_source_states(shared_data: Path, name: str, count: int) -> None:
    assert sum(1 for _ in read_fasta(shared_data / name)) == count


def test_the_real_gzip_file_holds_the_residues_that_its_source_states(shared_data: Path) -> None:
    lengths = [len(text) for _, text in read_fasta(shared_data / "sequences/pretrain_train.fasta.gz")]
    assert len(lengths) == 15_000
    assert round(sum(lengths) / 1e6, 2) == 5.33
    assert min(lengths) >= 30
    assert max(lengths) <= 1022


def test_real_sequences_have_the_lengths_that_their_source_states(shared_data: Path) -> None:
    path = shared_data / "ec_deepfri/nrPDB-EC_2020.04_sequences.fasta"
    lengths = [len(text) for _, text in read_fasta(path)]
    assert (min(lengths), statistics.median(lengths), max(lengths)) == (60, 296, 1000)
