"""What every labelled data set offers: the proteins of a split to measure, and the whole task for probes."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from plmdepth.proteins.datasets.dataset import Dataset
from plmdepth.proteins.selection import ProteinSet
from plmdepth.proteins.tasks.download import Remote, fetch_missing
from plmdepth.proteins.tasks.folder import Folder
from plmdepth.proteins.tasks.raw import RawTask, entries_of, tidied
from plmdepth.proteins.tasks.selected import chosen_of, task_of
from plmdepth.proteins.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class LabelledDataset(Dataset):
    """Proteins with labels, in splits.

    Attributes:
        split: the split that is measured; a task has all of them.
    """

    split: str = "test"

    @abstractmethod
    def read(self) -> RawTask:
        """Read all splits."""

    def records(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of every record of the split."""
        return ((entry.id, entry.text) for entry in entries_of(tidied(self.read()), self.split, self.name))

    def proteins(self, model_limit: int, seed: int) -> ProteinSet:
        """Return the proteins of the split to measure; what was dropped before there were records is noted."""
        raw = tidied(self.read())
        entries_of(raw, self.split, self.name)
        chosen = chosen_of(self.name, self.split, raw, self.rules(model_limit, seed))
        prefix = f"{self.split}: "
        dropped = [
            f"{n} dropped: {key.removeprefix(prefix)}" for key, n in raw.dropped.items() if key.startswith(prefix)
        ]
        missing = [raw.missing[self.split]] if self.split in raw.missing else []
        return replace(chosen, notes=(*missing, *dropped, *chosen.notes))

    def load_task(self, model_limit: int, seed: int) -> Task:
        """Return the task for a model that reads at most ``model_limit`` residues.

        Every split goes through the rules that `proteins` applies: ``limit`` keeps as many of each.
        """
        return task_of(self.name, tidied(self.read()), self.rules(model_limit, seed))


@dataclass(frozen=True, kw_only=True)
class FilesDataset(LabelledDataset):
    """Labels in the files of a published layout.

    Attributes:
        root: the folder that holds them.
        download: fetch what is missing from where it is published.
    """

    root: str
    download: bool = False

    def folder(self, layout: tuple[str, ...], remotes: tuple[Remote, ...] = ()) -> Folder:
        """Return the user's folder, with what was missing if that was asked for.

        Args:
            layout: the names that are expected in it.
            remotes: what can be fetched.
        """
        root = Path(self.root).expanduser()
        if self.download:
            fetch_missing(remotes, root)
        return Folder(root, self.name, layout, downloadable=bool(remotes))
