"""``tracking=wandb``: one run a cell, fed from the record.

Layer curves are native history: one row a layer, every curve bound by its exact name to ``layer``, with ``depth``
beside it, so that the runs of many models overlay in one panel. Where the record holds the history of a training, its
``train/`` and ``val/`` metrics are one row an epoch, bound to ``epoch``. The exact numbers go along as one long table
and as the parquet files themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import wandb

from plmdepth.errors import InputError
from plmdepth.results.identity import Identity, flat
from plmdepth.results.record import Record

_NOT_IN_A_NAME, _LONGEST_NAME = "/\\#?%:", 128
_PATIENCE = 20  # seconds to wait for the service: the record is whole without it
_HISTORY = "history.parquet"
_SENT = ("curves.parquet", "sequences.parquet", _HISTORY, "result.json", "config.yaml")  # and all .csv: what is there


@dataclass(frozen=True)
class WandbTracking:
    """Where runs go.

    Attributes:
        project: the project.
        entity: the user or team, None for the default.
        mode: ``offline`` keeps the run on disk (``wandb sync`` sends it later), ``online`` sends it.
    """

    project: str = "plmdepth"
    entity: str | None = None
    mode: Literal["offline", "online"] = "offline"

    def __post_init__(self) -> None:
        wrong = sorted({*self.project} & {*_NOT_IN_A_NAME})
        if not self.project or len(self.project) > _LONGEST_NAME or wrong:
            what = f"has {' '.join(wrong)} in it" if wrong else f"must have 1 to {_LONGEST_NAME} letters"
            raise InputError(f"tracking.project={self.project} is no name of a project: it {what}")

    def check(self) -> None:
        """Refuse to send records where nobody is logged in.

        Raises:
            InputError: nobody is.
        """
        if self.mode == "offline":
            return
        try:
            known, why = wandb.login(prompt=False, verify=False), "there is no key"
        except wandb.errors.Error as error:
            known, why = False, str(error).splitlines()[0].rstrip(".")
        if not known:
            raise InputError(f"tracking.mode=online: {why}; run wandb login, or take tracking.mode=offline")

    @contextmanager
    def run(self, identity: Identity) -> Iterator["WandbSink"]:
        """Open a run whose id is the cell's, so that a repeated cell replaces its run."""
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            id=f"{identity.model}-{identity.measurement}-{identity.id}",
            name=f"{identity.model} {identity.dataset} {identity.measurement}",
            group=identity.model,
            job_type=identity.entry,
            config=flat({"entry": identity.entry, "dataset": identity.dataset, **identity.facts}),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=_PATIENCE,
                finish_timeout=_PATIENCE,
                finish_timeout_raises=True,
            ),
        )
        try:
            yield WandbSink(run)
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish()


@dataclass(frozen=True)
class WandbSink:
    """An open run."""

    handle: Any

    def publish(self, record: Record) -> None:
        """Send curves, history, table, scalars and files of a record."""
        if len(curves := record.curves):  # a trained model has none
            first = curves.iloc[0]
            self.handle.config.update(
                {name: _plain(first[name]) for name in ("family", "parameters", "n_layers", "objective")}
            )
            self._log(history(curves), "layer", beside=("depth",))
            self.handle.log({"table/curves": wandb.Table(dataframe=curves)})
        if (path := record.folder / _HISTORY).exists():
            self._log(epochs(pd.read_parquet(path)), "epoch")
        self.handle.summary.update({k: v for k, v in record.result["scalars"].items() if v is not None})
        artifact = wandb.Artifact(f"record-{record.folder.name}", type="record")
        for path in sorted(each for each in record.folder.iterdir() if each.name in _SENT or each.suffix == ".csv"):
            artifact.add_file(str(path))
        self.handle.log_artifact(artifact)

    def _log(self, rows: Sequence[Mapping[str, float]], axis: str, beside: tuple[str, ...] = ()) -> None:
        """Log rows with every curve bound by its exact name to an axis; patterns that overlap would win at random."""
        axes = (axis, *beside)
        for name in axes:
            self.handle.define_metric(name)
        for name in sorted({name for row in rows for name in row} - {*axes}):
            self.handle.define_metric(name, step_metric=axis)
        for row in rows:
            self.handle.log(row)


def history(curves: pd.DataFrame) -> list[dict[str, float]]:
    """Return one row a layer: ``layer``, ``depth`` and every curve that has a value there."""
    parts = curves[["metric", "quantity", "component", "scope"]].to_numpy()
    named = curves.assign(name=[curve_name(*row) for row in parts])
    rows = []
    for _, points in named.dropna(subset="value").groupby("layer"):
        values = dict(zip(points["name"], points["value"], strict=True))
        rows.append({"layer": points["layer"].iloc[0].item(), "depth": points["depth"].iloc[0].item(), **values})
    return rows


def epochs(table: pd.DataFrame) -> list[dict[str, float]]:
    """Return one row an epoch: ``epoch`` and every metric of every layer that has a value there.

    Args:
        table: ``epoch``, ``layer`` and metrics, whose names have a slash: ``train/loss`` is of layer 6
            ``train/loss/layer_06``.
    """
    metrics = [name for name in table.columns if "/" in name]
    rows = []
    for _, points in table.groupby("epoch"):
        row = {"epoch": points["epoch"].iloc[0].item()}
        for name in metrics:
            known = points.dropna(subset=name)
            row |= {f"{name}/layer_{layer:02d}": v for layer, v in zip(known["layer"], known[name], strict=True)}
        rows.append(row)
    return rows


def curve_name(metric: str, quantity: str, component: str, scope: str = "") -> str:
    """Return the name of a curve in the history, the same for every model.

    >>> curve_name("residual", "cosine", "mlp")
    'curves/residual/cosine/mlp'
    """
    return "/".join(part for part in ("curves", metric, quantity, component, scope) if part)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
