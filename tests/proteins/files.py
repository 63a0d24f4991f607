"""Small files in the published layouts, written by the tests."""

from pathlib import Path

import pytest

from plmdepth.errors import InputError


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def fasta(**proteins: str) -> str:
    return "".join(f">{name}\n{sequence}\n" for name, sequence in proteins.items())


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


EC_ANNOTATION = (
    "### EC-numbers\n3.2.2.-\t3.2.2.1\t1.1.1.-\t7.1.1.9\n### PDB-chain\tEC-numbers\n"
    "1AAA-A\t3.2.2.-,3.2.2.1\n1BBB-B\t1.1.1.-\n1CCC-C\t3.2.2.-,1.1.1.-\n1DDD-D\t3.2.2.-\n1EEE-E\t1.1.1.-\n"
)
EC_FILES = {
    "nrPDB-EC_2020.04_annot.tsv": EC_ANNOTATION,
    "nrPDB-EC_2020.04_sequences.fasta": (
        ">1AAA-A nrPDB\nMKTV\n>1BBB-B nrPDB\nACDE\n>1CCC-C\nGGHH\n>1DDD-D\nMKLLLLLL\n>1EEE-E\nWWYY\n"
    ),
    "nrPDB-EC_2020.04_train.txt": "1AAA-A\n1BBB-B\n",
    "nrPDB-EC_2020.04_valid.txt": "1CCC-C\n",
    "nrPDB-EC_2020.04_test.txt": "1DDD-D\n1EEE-E\n",
    "nrPDB-EC_2020.04_test.csv": "PDB-chain,<30%,<40%,<50%,<70%,<95%\n1DDD-D,0,0,1,1,1\n1EEE-E,1,1,1,1,1\n",
}
"""Five chains in the layout of EC."""

GO_ANNOTATION = (
    "### GO-terms (molecular_function)\nGO:0000001\tGO:0000002\n### GO-names (molecular_function)\nbinding, of\tother\n"
    "### GO-terms (biological_process)\nGO:0000003\n### GO-names (biological_process)\ngrowth\n"
    "### GO-terms (cellular_component)\nGO:0000004\tGO:0000005\n### GO-names (cellular_component)\ncell\tedge\n"
    "### PDB-chain\tGO-terms (molecular_function)\tGO-terms (biological_process)\tGO-terms (cellular_component)\n"
    "1AAA-A\tGO:0000001\tGO:0000003\tGO:0000005\n1BBB-B\tGO:0000002\t\t\n1CCC-C\tGO:0000001,GO:0000002\n"
)
"""Rows with empty fields, and one whose trailing tabs were cut off."""

CSV_HEADER = "input, dssp3, dssp8, disorder, cb513_mask\n"
"""As published: a space before every name but the first."""
