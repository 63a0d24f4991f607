"""``dataset=demo_family`` and the like: proteins of the bundled grammar with a label that it knows."""

from dataclasses import dataclass

from plmdepth.errors import InputError
from plmdepth.proteins.datasets.labelled import LabelledDataset
from plmdepth.proteins.tasks.demo import DemoLabel, read_demo
from plmdepth.proteins.tasks.raw import RawTask


@dataclass(frozen=True, kw_only=True)
class DemoTaskDataset(LabelledDataset):
    """The splits of ``dataset=demo`` with one of their labels.

    Attributes:
        label: what is predicted.
        train_size: number of proteins of train.
        valid_size: number of proteins of valid.
        test_size: number of proteins of test.
        grammar_seed: decides the families; the bundled models know those of seed 0.
    """

    label: DemoLabel
    train_size: int = 1000
    valid_size: int = 200
    test_size: int = 400
    grammar_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("train_size", "valid_size", "test_size"):
            if getattr(self, option) < 1:
                raise InputError(f"dataset.{option} must be at least 1, got {getattr(self, option)}")

    def read(self) -> RawTask:
        """Write all splits."""
        sizes = {"train": self.train_size, "valid": self.valid_size, "test": self.test_size}
        return read_demo(self.label, self.grammar_seed, sizes)
