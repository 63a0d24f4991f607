"""``dataset=subcellular`` and ``dataset=membrane``: where a protein goes, and whether it is in a membrane."""

from dataclasses import dataclass, replace
from typing import Literal

from plmdepth.proteins.datasets.labelled import FilesDataset
from plmdepth.proteins.tasks.deeploc import CLASSES, Target, read_complete_deeploc, read_deeploc
from plmdepth.proteins.tasks.peer import read_peer
from plmdepth.proteins.tasks.published import (
    DEEPLOC_COMPLETE,
    DEEPLOC_HARD,
    DEEPLOC_TEST,
    DEEPLOC_TRAIN,
    DEEPLOC_VALID,
)
from plmdepth.proteins.tasks.raw import MAIN_SPLITS, RawTask

_PEER_STEMS = {"location": "subcellular_localization", "membrane": "binary_localization"}


@dataclass(frozen=True, kw_only=True)
class DeeplocDataset(FilesDataset):
    """DeepLoc 1.0.

    Attributes:
        target: what is predicted.
        layout: ``light_attention``: a FASTA file a split, setHARD too; ``complete``: DeepLoc's one file, a tenth of its
            train set held out as valid; ``peer``: the split of the PEER benchmark, a CSV file a split.
        train_file: of ``light_attention``; where it is the valid file, a tenth of that is held out as valid instead.
    """

    target: Target
    layout: Literal["light_attention", "complete", "peer"] = "light_attention"
    train_file: str = DEEPLOC_TRAIN.name

    def read(self) -> RawTask:
        """Read all splits."""
        if self.layout == "peer":
            return self._peer()
        if self.layout == "complete":
            folder = self.folder((DEEPLOC_COMPLETE.name,), (DEEPLOC_COMPLETE,))
            return read_complete_deeploc(folder.find(DEEPLOC_COMPLETE.name), self.target)
        return self._light_attention()

    def _light_attention(self) -> RawTask:
        remotes = (DEEPLOC_TRAIN, DEEPLOC_VALID, DEEPLOC_TEST, DEEPLOC_HARD)
        wanted = tuple(each for each in remotes if each is not DEEPLOC_TRAIN or each.name == self.train_file)
        names = {"train": self.train_file, "valid": DEEPLOC_VALID.name, "test": DEEPLOC_TEST.name}
        if self.train_file == DEEPLOC_VALID.name:
            del names["valid"]
        folder = self.folder((*names.values(), DEEPLOC_HARD.name), wanted)
        hard = folder.find_if_there(DEEPLOC_HARD.name)
        files = {split: folder.find(name) for split, name in names.items()} | ({"set_hard": hard} if hard else {})
        raw = read_deeploc(files, self.target)
        return raw if hard else replace(raw, absent={"set_hard": f"no {DEEPLOC_HARD.name}"})

    def _peer(self) -> RawTask:
        stem = _PEER_STEMS[self.target]
        names = {split: f"{stem}_{split}.csv" for split in MAIN_SPLITS}
        folder = self.folder(tuple(names.values()))
        # What the two numbers of the binary task stand for is published nowhere, so they keep their names.
        classes = CLASSES[self.target] if self.target == "location" else ("class_0", "class_1")
        return read_peer({split: folder.find(name) for split, name in names.items()}, classes)
