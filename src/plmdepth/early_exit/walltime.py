"""Seconds, measured: leaving early for real against a full forward pass over the same batches of like length."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from plmdepth.early_exit.inference import EarlyExit
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.batches import token_budget_batches
from plmdepth.proteins.protein import Protein


def wall_times(
    early: EarlyExit, proteins: Sequence[Protein], thresholds: Sequence[float], tokens_per_batch: int, rounds: int
) -> pd.DataFrame:
    """Return one row a threshold: layers and seconds, both also as a share of the full pass.

    All runs are timed in turn, once to warm up and then ``rounds`` times; the median counts. The full pass runs every
    layer and the last head, and no head between.

    Columns: ``threshold``, ``layers`` (mean number computed), ``layer_share``, ``seconds``, ``full_seconds``,
    ``time_share``.
    """
    layers: dict[float, float] = {}

    def leave(threshold: float) -> None:
        runs = replace(early, threshold=threshold).run(proteins, tokens_per_batch)
        computed = torch.cat([left.computed for _, left in runs])
        layers[threshold] = computed.double().mean().item()

    works: dict[Any, Callable[[], None]] = {threshold: partial(leave, threshold) for threshold in thresholds}
    works["full"] = partial(_full, early, proteins, tokens_per_batch)
    seconds = _medians(works, rounds, early.device)
    table = pd.DataFrame({"threshold": list(thresholds), "layers": [layers[each] for each in thresholds]})
    table["layer_share"] = table["layers"] / early.stack.n_layers
    table["seconds"] = [seconds[each] for each in thresholds]
    table["full_seconds"] = seconds["full"]
    table["time_share"] = table["seconds"] / table["full_seconds"]
    return table


def relation(table: pd.DataFrame) -> dict[str, float]:
    """Return slope, intercept and r^2 of the share of time over the share of layers; NaN with fewer than three."""
    x, y = table["layer_share"].to_numpy(), table["time_share"].to_numpy()
    if len(np.unique(x)) < 3:
        return dict.fromkeys(("slope", "intercept", "r_squared"), float("nan"))
    slope, intercept = np.polyfit(x, y, 1)
    left_over = y - (slope * x + intercept)
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r_squared": float(1 - left_over.var() / y.var()),
    }


@torch.no_grad()
def _full(early: EarlyExit, proteins: Sequence[Protein], tokens_per_batch: int) -> None:
    stack = early.stack
    for batch in token_budget_batches([len(protein) for protein in proteins], tokens_per_batch):
        tokens = spelt(stack, [proteins[i].sequence for i in batch], early.device)
        state, call = stack.embed(tokens)
        for layer in range(1, stack.n_layers + 1):
            state = stack.apply_layer(layer, state, call)
        early.answers(stack.n_layers, state, early.reader.places(tokens))


def _medians(works: dict[Any, Callable[[], None]], rounds: int, device: torch.device) -> dict[Any, float]:
    times: dict[Any, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}
