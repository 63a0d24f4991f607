"""Small records of every kind of cell, kept to be compared with: ``python -m tests.golden.make_records``.

Run it where numbers are meant to change, and say in the commit which and why.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from safetensors.numpy import save_file

from plmdepth.commands.analyze import analyze
from plmdepth.commands.entry import main
from plmdepth.commands.train import train
from plmdepth.results.record import Record, read_record

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).parent / "records"
COLUMNS = ["metric", "quantity", "component", "scope", "layer", "n", "value", "ci_low", "ci_high"]
_ENTRIES: dict[str, Callable[..., Path]] = {"analyze": analyze, "train": train}
_MEASURED = ("suite", "layer_skip", "direct_effect", "ablation", "erasure", "gradients", "integrated_gradients")
_FEW = ("dataset.train_size=40", "dataset.valid_size=15", "dataset.test_size=15", "probe.n_replicates=20")
CELLS: dict[str, tuple[str, ...]] = {
    **{f"{metric}": ("analyze", f"metric={metric}", "dataset.size=4") for metric in _MEASURED},
    "diffusion": ("analyze", "model=tiny_diffusion", "metric=suite", "dataset.size=4"),
    "future": ("analyze", "model=tiny_autoregressive", "metric=layer_skip", "metric.scope=future", "dataset.size=4"),
    "effective_depth": ("analyze", "metric=effective_depth", "dataset.size=4"),
    "dead_layers": ("analyze", "metric=residual", "control=dead_layers", "dataset.size=4"),
    "tuned_lens": ("train", "probe=tuned_lens", "dataset.size=8", "probe.steps=3", "probe.batch_size=4"),
    "mlp": ("train", "probe=mlp", "dataset=demo_function", *_FEW, "probe.epochs=3"),
    "contact": (
        *("train", "probe=contact", "dataset=demo_contact", "probe.n_replicates=20"),
        *("dataset.train_proteins=8", "dataset.valid_proteins=6", "dataset.test_proteins=6"),
    ),
    "early_exit": ("analyze", "metric=early_exit", "probe_run=MLP", "metric.timed=2", "metric.n_replicates=20"),
}
"""Entry point and options of each; ``MLP`` is the record of that cell."""


def records() -> Iterator[tuple[str, Record]]:
    """Run every cell and yield its record."""
    with TemporaryDirectory() as folder:
        done: dict[str, Path] = {}
        for name, (entry, *given) in CELLS.items():
            options = [option.replace("MLP", str(done.get("mlp"))) for option in given]
            small = [] if name == "early_exit" else ["model.miniature=true"]
            done[name] = _run(entry, *options, *small, f"outputs={folder}")
            yield name, read_record(done[name])


def _run(entry: str, *arguments: str) -> Path:
    folders: list[Path] = []

    def task(*cell: Any) -> Path:
        folders.append(_ENTRIES[entry](*cell))
        return folders[0]

    before, sys.argv = sys.argv, [f"{entry}.py", *arguments]
    GlobalHydra.instance().clear()
    try:
        assert main(ROOT / "conf", entry, task) == 0
    finally:
        sys.argv = before
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
    return folders[0]


def _make() -> None:
    KEPT.mkdir(exist_ok=True)
    found = dict(records())
    curves = [record.curves[COLUMNS].assign(cell=name) for name, record in found.items()]
    pd.concat(curves, ignore_index=True).to_parquet(KEPT / "curves.parquet", index=False)
    matrices = {f"{name}:{key}": matrix for name, record in found.items() for key, matrix in record.matrices.items()}
    save_file(matrices, KEPT / "matrices.safetensors")
    results = {name: {"id": record.folder.name, "scalars": record.result["scalars"]} for name, record in found.items()}
    (KEPT / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _make()
