import gzip
import os
import random
import statistics
from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.fasta import FastaDataset
from plmdepth.proteins.fasta import read_by_id, read_fasta, read_headed

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


ODD = ["\x85", "\x1c", "\x1d", "\x1e", "\u2028", "\u2029", "\x0b", "\x0c"]
"""What `str.splitlines` takes for the end of a line, and FASTA does not."""


@pytest.mark.parametrize("letter", ODD)
@pytest.mark.parametrize("compress", [False, True])
def test_only_line_ends_end_a_line(tmp_path: Path, letter: str, compress: bool) -> None:
    content = f">a{letter}x\nMK{letter}TV\n{letter}>not a header\n>b\nAC{letter}\n".encode()
    path = written(tmp_path, gzip.compress(content) if compress else content)
    found = list(read_headed(path))
    assert found == [(f"a{letter}x", f"MK{letter}TV{letter}>not a header"), ("b", f"AC{letter}")]


def mutated(seed: int) -> bytes:
    """Return a small FASTA file with a few letters put in, taken out or doubled anywhere."""
    chance = random.Random(seed)
    end = chance.choice(["\n", "\r\n", "\r"])
    text = end.join(f">p{k} protein {k}{end}{'MKTVACDE' * 2}{end}{'GHILKPQ' * 2}" for k in range(6)) + end
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(text))
        put = chance.choice(
            [*ODD, ">", ";", "*", "-", " ", "\t", "é", "\u200b", "\x00", "x", "\n", "\r", "\ufeff", "1"]
        )
        text = chance.choice([text[:place] + put + text[place:], text[:place] + text[place + 1 :]])
    return text.encode()


def headers_of(content: bytes) -> list[str]:
    """Return the headers of a file, by a reader that looks at bytes alone."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    bare = [line.replace(b"\xef\xbb\xbf", b"") if line[:3] == b"\xef\xbb\xbf" else line for line in lines]
    return [line.decode() for line in (each.lstrip(b" \t") for each in bare) if line.startswith(b">")]


def check_that_counts_add_up(path: Path, seeds: range) -> None:
    read = refused = 0
    for seed in seeds:
        path.write_bytes(mutated(seed))
        try:
            found = FastaDataset(name="fasta", path=str(path)).proteins(1000, seed=0)
        except InputError as error:
            refused += str(error).startswith(str(path)) or pytest.fail(str(error))
        else:
            assert len(found.proteins) + len(found.skipped) == len(headers_of(path.read_bytes()))
            assert all(each.reason for each in found.skipped)
            read += 1
    assert read > 10 * refused > 0


def test_every_record_of_a_mutated_file_is_read_skipped_or_refused(tmp_path: Path) -> None:
    check_that_counts_add_up(tmp_path / "a.fasta", range(400))


@pytest.mark.slow
def test_every_record_of_ten_thousand_mutated_files_is_read_skipped_or_refused(tmp_path: Path) -> None:
    check_that_counts_add_up(tmp_path / "a.fasta", range(10_000))


@pytest.mark.parametrize("title", ["crystallin chain B, anas platyrhynchos", "structureX:1abc:FIRST:A", "MKT", ""])
@pytest.mark.parametrize("end", ["*\n", "*\n\n", "\n*\n", "*\nC;Species: Anas\n"])
def test_pir_is_read_as_what_it_is(tmp_path: Path, title: str, end: str) -> None:
    content = "".join(f">P1;{name}\n{title}\nMDITIHNPLIRR\nPLFSWLAP{end}" for name in ("CRAB_ANAPL", "other"))
    assert records(tmp_path, content.encode()) == [
        ("CRAB_ANAPL", "MDITIHNPLIRRPLFSWLAP"),
        ("other", "MDITIHNPLIRRPLFSWLAP"),
    ]


def test_pir_without_a_title_keeps_its_residues(tmp_path: Path) -> None:
    assert records(tmp_path, b">P1;a\nMKTV*\n>F1;b\ntitle\nAC*\n") == [("a", "MKTV"), ("b", "AC")]


@pytest.mark.parametrize("wrapped", ["OS=Homo sapiens OX=9606", "Homo sapiens", "HOMO SAPIENS", "ription"])
def test_the_rest_of_a_header_is_no_sequence(tmp_path: Path, wrapped: str) -> None:
    path = written(tmp_path, f">sp|P1|X Some desc\n{wrapped}\nMKTVACDEMKTV\nACD\n>b\nMKTV\n".encode())
    found = FastaDataset(name="fasta", path=str(path)).proteins(1000, seed=0)
    assert [each.id for each in found.proteins] == ["b"]
    assert [each.kind for each in found.skipped] == ["its first line reads like the rest of a header"]


@pytest.mark.parametrize(
    "lines", ["MKTVACDEFG HIKLMNPQRS\nTVWY", "mktvac\nMKTVAC", "MKTVACDE\nMK", "mk tv\nac de", "M K\n"]
)
def test_sequences_in_blocks_or_lower_case_are_sequences(tmp_path: Path, lines: str) -> None:
    path = written(tmp_path, f">a\n{lines}\n".encode())
    (protein,) = FastaDataset(name="fasta", path=str(path)).proteins(1000, seed=0).proteins
    assert protein.sequence == "".join(lines.split()).upper()


@pytest.mark.parametrize(
    ("letters", "noted"), [("ACGT", True), ("ACGU", True), ("acgtn", True), ("ACGTM", False), ("MKTV", False)]
)
def test_nucleotides_are_noted(tmp_path: Path, letters: str, noted: bool) -> None:
    content = "".join(f">g{k}\n{letters * 5}{'A' * k}\n" for k in range(9)) + ">p\nMKTV\n"
    found = FastaDataset(name="fasta", path=str(written(tmp_path, content.encode()))).proteins(1000, seed=0)
    assert len(found.proteins) == 10
    assert bool(found.notes) is noted
    if noted:
        assert "9 of 10 sequences hold no letter but A, C, G, T, U and N" in found.notes[0]


ALIKE = b">ESM V0 FOR MGYP1\nMKTV\n>ESM V0 FOR MGYP2\nMADE\n>ESM V0 FOR MGYP3\nMVLS\n"


def test_headers_that_share_their_first_word_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = written(tmp_path, ALIKE)
    with pytest.raises(
        InputError, match=r"2 of 3 headers begin with the first word.*dataset\.id=whole.*dataset\.id=REGEX"
    ):
        FastaDataset(name="fasta", path=str(path)).proteins(1000, seed=0)


@pytest.mark.parametrize(
    ("choice", "ids"),
    [
        ("whole", ["ESM V0 FOR MGYP1", "ESM V0 FOR MGYP2", "ESM V0 FOR MGYP3"]),
        (r"MGYP\d", ["MGYP1", "MGYP2", "MGYP3"]),
        (r"FOR (\S+)", ["MGYP1", "MGYP2", "MGYP3"]),
    ],
)
def test_an_id_may_be_the_whole_header_or_a_part_of_it(tmp_path: Path, choice: str, ids: list[str]) -> None:
    found = FastaDataset(name="fasta", path=str(written(tmp_path, ALIKE)), id=choice).proteins(1000, seed=0)
    assert [each.id for each in found.proteins] == ids


def test_an_id_that_is_not_in_a_header_or_no_expression_is_refused(tmp_path: Path) -> None:
    path = str(written(tmp_path, ALIKE))
    with pytest.raises(InputError, match=r"dataset\.id=UPI finds nothing in the header 'ESM V0 FOR MGYP1'"):
        FastaDataset(name="fasta", path=path, id="UPI").proteins(1000, seed=0)
    with pytest.raises(InputError, match=r"dataset\.id=\( is no regular expression"):
        FastaDataset(name="fasta", path=path, id="(")


def test_a_pipe_is_told_from_a_missing_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe and can be read once only; write it to a file" in refusal(tmp_path / "pipe")


def test_a_latin_1_file_is_refused_with_how_to_re_encode_it(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, b">a M\xfcller\nMKTV\n"))
    assert "byte 0xfc" in message
    assert "re-encode it as UTF-8: iconv -f LATIN1 -t UTF-8" in message


def test_two_records_of_one_id_are_one_or_refused(tmp_path: Path) -> None:
    assert read_by_id(written(tmp_path, b">a x\nMK\n>a x\nMK\n")) == {"a": ("a x", "MK")}
    with pytest.raises(InputError, match="records 1 and 3 are both named a and differ"):
        read_by_id(written(tmp_path, b">a\nMK\n>b\nMK\n>a\nAC\n"))
