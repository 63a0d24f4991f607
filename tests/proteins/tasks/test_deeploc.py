from pathlib import Path

import pytest

from plmdepth.errors import InputError
from plmdepth.proteins.protein import CANONICAL
from plmdepth.proteins.tasks.deeploc import LOCATIONS, Target, read_complete_deeploc, read_deeploc, read_located
from plmdepth.proteins.tasks.raw import RawTask

from .files import one_line, written

TRAIN = (
    ">Q1 Cell.membrane-M\nMKTV\n>Q2 Lysosome/Vacuole-S\nACDE\n>Q3 Cytoplasm-Nucleus-U\nGGG\n>Q4 Nucleus-U\nWWW\n"
    ">Q5 Extracellular-S\nYYY\n"
)
TEST = ">P1 Plastid-M test\nMMM\n>P2 Cytoplasm-U test\nKKK\n"
HARD = ">H1 Peroxisome-U new_test_set\nDDD\n"


def read(folder: Path, target: Target, **files: str) -> RawTask:
    written(folder, {f"{split}.fasta": content for split, content in files.items()})
    return read_deeploc({split: folder / f"{split}.fasta" for split in files}, target)


def names(raw: RawTask, split: str) -> dict[str, str]:
    return {entry.id: raw.classes[int(entry.label)] for entry in raw.entries[split]}


def many(count: int, mark: str) -> str:
    return "".join(f">A{n} Nucleus-U{mark}\n{CANONICAL[n % 20] * (n // 20 + 1)}\n" for n in range(count))


def test_locations_with_dots_and_a_slash_are_classes_as_they_are(tmp_path: Path) -> None:
    raw = read(tmp_path, "location", train=TRAIN, valid=HARD, test=TEST)
    assert raw.kind == "multiclass"
    assert len(raw.classes) == len(LOCATIONS) == 10
    assert names(raw, "train") == {
        "Q1": "Cell.membrane",
        "Q2": "Lysosome/Vacuole",
        "Q4": "Nucleus",
        "Q5": "Extracellular",
    }
    assert names(raw, "test") == {"P1": "Plastid", "P2": "Cytoplasm"}


def test_the_pair_of_two_locations_is_left_out_and_counted(tmp_path: Path) -> None:
    raw = read(tmp_path, "location", train=TRAIN, valid=HARD, test=TEST)
    assert "Q3" not in names(raw, "train")
    assert raw.dropped == {"train: Cytoplasm-Nucleus is two classes": 1}


def test_unknown_membrane_is_left_out_and_counted(tmp_path: Path) -> None:
    raw = read(tmp_path, "membrane", train=TRAIN, valid=TRAIN, test=TEST, set_hard=HARD)
    assert names(raw, "train") == {"Q1": "membrane", "Q2": "soluble", "Q5": "soluble"}
    assert names(raw, "test") == {"P1": "membrane"}
    reason = "membrane or soluble is unknown"
    assert raw.dropped == {f"{s}: {reason}": n for s, n in (("train", 2), ("valid", 2), ("test", 1), ("set_hard", 1))}


def test_without_a_valid_file_a_tenth_of_train_is_held_out(tmp_path: Path) -> None:
    raw = read(tmp_path, "location", train=many(400, ""), test=TEST)
    assert len(raw.entries["train"]) + len(raw.entries["valid"]) == 400
    assert 20 <= len(raw.entries["valid"]) <= 60
    assert not names(raw, "train").keys() & names(raw, "valid").keys()


def test_the_complete_file_marks_its_test_proteins(tmp_path: Path) -> None:
    root = written(tmp_path, {"all.fasta": many(100, "") + TEST + ">N1 Nucleus-U new\nCCC\n"})
    raw = read_complete_deeploc(root / "all.fasta", "location")
    assert names(raw, "test") == {"P1": "Plastid", "P2": "Cytoplasm"}
    assert len(raw.entries["train"]) + len(raw.entries["valid"]) == 101


def test_a_complete_file_without_marks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_complete_deeploc(written(tmp_path, {"all.fasta": TRAIN}) / "all.fasta", "location")
    assert "marks no protein as test" in one_line(caught)


@pytest.mark.parametrize("header", ["Q1", "Q1 Nucleus", "Q1 Nucleus-X", "Q1 Moon-M", "Q1 -M", ""])
def test_another_header_is_refused_by_its_text(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read_located(written(tmp_path, {"a.fasta": f">{header}\nMK\n"}) / "a.fasta"))
    assert f"header '>{header}' should read '>ACC Location-M'" in one_line(caught)
