"""Whole cells in miniature: complete records, and numbers that do not depend on how they were computed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pytorch_lightning import Trainer

from plmdepth.analysis.run import Analysis
from plmdepth.cells.cell import run_cell
from plmdepth.cells.inputs import check_objective, inputs_of
from plmdepth.controls.control import Control
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Suite, Values
from plmdepth.metrics.residual import Residual
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.diffusion import Diffusion
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example, Objective
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.protein import Protein, Skipped
from plmdepth.proteins.selection import ProteinSet
from plmdepth.results.record import CURVE_COLUMNS, SEQUENCE_COLUMNS, Record, read_record
from tests.stacks import ALL, EVERYWHERE, PROTEINS


def quiet_trainer() -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        inference_mode=False,
    )


def analysis(family: str = "esm2", objective: Objective | None = None, **changes: Any) -> Analysis:
    dataset = DemoDataset(name="demo", size=12, tokens_per_batch=changes.pop("tokens_per_batch", 512))
    proteins = dataset.proteins(EVERYWHERE[family].max_length, seed=0)
    cell = Analysis(
        model=EVERYWHERE[family],
        dataset=dataset,
        proteins=replace(proteins, skipped=(Skipped("broken", 3, "empty sequence"),)),
        objective=objective or (Masked() if family == "esm2" else Autoregressive()),
        metric=Suite({"logit_lens": LogitLens(), "residual": Residual()}),
        metric_name="suite",
        control=Control(),
        trainer=quiet_trainer,
        seed=0,
        options={},
    )
    return replace(cell, **changes)


def record_of(cell: Analysis, folder: Path) -> Record:
    run_cell(cell, folder, config="seed: 0\n")
    return read_record(folder)


@pytest.mark.parametrize(
    ("family", "objective"), [("esm2", Masked()), ("esm2", Diffusion()), ("progen2", Autoregressive())]
)
def test_a_cell_leaves_a_complete_record(family: str, objective: Objective, tmp_path: Path) -> None:
    record = record_of(analysis(family, objective), tmp_path / "cell")
    expected = {"config.yaml", "status.json", "result.json", "curves.parquet", "sequences.parquet"}
    assert {path.name for path in record.folder.iterdir()} == expected
    assert pq.read_schema(record.folder / "curves.parquet").equals(CURVE_COLUMNS)
    assert pq.read_schema(record.folder / "sequences.parquet").equals(SEQUENCE_COLUMNS)
    assert set(record.curves["metric"]) == {"logit_lens", "residual"}
    assert set(record.curves["objective"]) == {objective.name}


def test_curves_have_one_row_a_point_with_interval_and_count(tmp_path: Path) -> None:
    curves = record_of(analysis(), tmp_path / "cell").curves
    assert not curves.duplicated(["metric", "quantity", "component", "layer"]).any()
    kl = curves[curves["quantity"] == "kl_to_final"]
    assert kl["layer"].tolist() == list(range(7))
    np.testing.assert_allclose(kl["depth"], np.arange(7) / 6)
    assert (kl["n"] == 12).all()
    assert ((kl["ci_low"] <= kl["value"]) & (kl["value"] <= kl["ci_high"])).all()
    cosine = curves[(curves["quantity"] == "cosine") & (curves["component"] == "mlp")]
    assert cosine["layer"].tolist() == list(range(1, 7))


def test_every_noise_level_has_the_curves_that_its_proteins_have_alone(tmp_path: Path) -> None:
    objective = Diffusion((0.2, 0.7))
    cell = analysis(objective=objective)
    together = record_of(cell, tmp_path / "together")
    assert list(together.result["scopes"]) == ["noise_level=0.2", "noise_level=0.7"]
    for level in objective.noise_levels:
        drawn = tuple(p for p in cell.proteins.proteins if objective.draw(p.sequence, seed=0)[0] == level)
        assert 1 < len(drawn) < 12
        alone = record_of(replace(cell, proteins=replace(cell.proteins, proteins=drawn)), tmp_path / str(level))
        scope = f"noise_level={level}"
        here, there = (
            each.curves[each.curves["scope"] == scope].drop(columns="scope").reset_index(drop=True)
            for each in (together, alone)
        )
        assert len(here) > 0
        pd.testing.assert_frame_equal(here, there, rtol=1e-6)  # other batches, other padding
        overall = alone.curves[alone.curves["scope"] == ""].drop(columns="scope").reset_index(drop=True)
        pd.testing.assert_frame_equal(here, overall, rtol=1e-6)
        assert together.result["scopes"][scope]["scalars"].keys() == alone.result["scalars"].keys()


def test_the_curves_over_all_proteins_are_the_means_of_the_noise_levels(tmp_path: Path) -> None:
    curves = record_of(analysis(objective=Diffusion((0.2, 0.7))), tmp_path / "cell").curves
    loss = curves[(curves["quantity"] == "cross_entropy") & (curves["layer"] == 3)].set_index("scope")
    parts = loss.drop(index="")
    assert parts["n"].sum() == loss.loc["", "n"] == 12
    assert np.average(parts["value"], weights=parts["n"]) == pytest.approx(loss.loc["", "value"], rel=1e-12)


def test_a_noise_level_that_no_protein_drew_is_left_out(tmp_path: Path) -> None:
    cell = analysis(objective=Diffusion((0.2, 0.7)))
    one = replace(cell, proteins=replace(cell.proteins, proteins=cell.proteins.proteins[:1]))
    record = record_of(one, tmp_path / "cell")
    assert len(record.result["scopes"]) == 1
    assert set(record.curves["scope"]) == {"", *record.result["scopes"]}


def test_an_objective_of_one_kind_has_no_scopes(tmp_path: Path) -> None:
    for number, objective in enumerate((Masked(), Diffusion((0.5,)), Diffusion(tuple(k / 500 for k in range(1, 501))))):
        record = record_of(analysis(objective=objective), tmp_path / str(number))
        assert set(record.curves["scope"]) == {""}
        assert record.result["scopes"] == {}


def test_the_result_says_what_was_measured_and_what_was_not(tmp_path: Path) -> None:
    cell = analysis()
    provenance = record_of(cell, tmp_path / "cell").result["provenance"]
    assert provenance["sequences_measured"] == 12
    assert provenance["residues_measured"] == sum(len(protein) for protein in cell.proteins.proteins)
    assert provenance["sequences_skipped"] == {"empty sequence": 1}
    assert provenance["versions"]["torch"].startswith("2.13.0")


def test_every_sequence_is_listed_with_its_targets_and_loss(tmp_path: Path) -> None:
    cell = analysis()
    record = record_of(cell, tmp_path / "cell")
    rows = pd.read_parquet(record.folder / "sequences.parquet").set_index("id")
    assert rows.loc["broken", "skipped"] == "empty sequence"
    for protein in cell.proteins.proteins:
        row = rows.loc[protein.id]
        assert row["sha256"] == protein.sha256
        assert row["target_positions"].tolist() == Masked().targets(protein.sequence, seed=0)
    loss = rows.loc[rows["skipped"] == "", "cross_entropy"].mean()
    assert loss == pytest.approx(record.result["scalars"]["cross_entropy_final"], rel=1e-12)


@pytest.mark.parametrize("family", ["esm2", "progen2"])
def test_the_batch_size_changes_no_number(family: str, tmp_path: Path) -> None:
    alone = record_of(analysis(family, tokens_per_batch=1), tmp_path / "alone")
    together = record_of(analysis(family, tokens_per_batch=100_000), tmp_path / "together")
    for column in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(alone.curves[column], together.curves[column], rtol=1e-5, atol=1e-5)


def test_the_batch_size_is_no_part_of_the_identity_but_the_data_are() -> None:
    cell = analysis(tokens_per_batch=1)
    assert cell.identity.id == analysis(tokens_per_batch=999).identity.id
    fewer = replace(cell.proteins, proteins=cell.proteins.proteins[:5])
    others = [replace(cell, seed=1), replace(cell, proteins=fewer), replace(cell, model=EVERYWHERE["progen2"])]
    assert len({cell.identity.id, *(other.identity.id for other in others)}) == 4


def test_planted_depth_is_read_from_the_record(tmp_path: Path) -> None:
    record = record_of(analysis(control=DeadLayers(layers=[4, 5, 6])), tmp_path / "cell")
    curves = record.curves.set_index(["quantity", "component", "layer"])["value"].sort_index()
    assert (curves["kl_to_final", ""].loc[3:] == 0).all()
    for component in ("layer", "attention", "mlp"):
        assert (curves["contribution_norm", component].loc[4:] == 0).all()
        assert curves["cosine", component].loc[4:].isna().all()
    assert record.result["scalars"]["ed_kl"] <= 3


def test_the_json_of_a_record_is_strict(tmp_path: Path) -> None:
    record = record_of(analysis(), tmp_path / "cell")

    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads((record.folder / "result.json").read_text(), parse_constant=refuse)


def test_a_model_without_a_mask_token_refuses_to_hide_residues() -> None:
    with pytest.raises(InputError, match="has no mask token; use objective=autoregressive"):
        check_objective(EVERYWHERE["progen2"], Masked())


def test_a_model_that_sees_both_sides_refuses_to_predict_the_next_residue() -> None:
    with pytest.raises(InputError, match="use objective=masked"):
        check_objective(EVERYWHERE["esm2"], Autoregressive())


@pytest.mark.parametrize("family", ["dplm2_structure", "dplm2_both"])
def test_a_model_that_reads_structures_needs_structure_tokens_of_every_protein(family: str) -> None:
    given = ProteinSet(PROTEINS, (), {})
    assert inputs_of(ALL[family], given) == given
    with pytest.raises(
        InputError,
        match=r"^model\.modality=\w+ reads structure tokens, and lacking has none of dplm2; .*structure_tokens=FILE$",
    ):
        inputs_of(ALL[family], ProteinSet((*PROTEINS, Protein("lacking", "MK")), (), {}))


def test_structure_tokens_that_a_model_does_not_read_are_no_part_of_the_identity() -> None:
    bare = ProteinSet(tuple(Protein(protein.id, protein.sequence) for protein in PROTEINS), (), {})
    assert inputs_of(ALL["dplm2"], ProteinSet(PROTEINS, (), {})) == bare == inputs_of(ALL["dplm2"], bare)
    assert inputs_of(ALL["dplm2_both"], ProteinSet(PROTEINS, (), {})).digest != bare.digest


def test_a_cell_of_both_modalities_leaves_a_record_of_the_measured_residues(tmp_path: Path) -> None:
    cell = analysis(model=ALL["dplm2_both"], proteins=ProteinSet(PROTEINS, (), {}), objective=Diffusion())
    record = record_of(cell, tmp_path / "cell")
    assert record.result["provenance"]["residues_measured"] == sum(len(protein) for protein in PROTEINS)
    assert record.curves["value"].notna().any()


def test_an_empty_set_of_skipped_sequences_is_fine(tmp_path: Path) -> None:
    cell = analysis()
    record = record_of(replace(cell, proteins=ProteinSet(cell.proteins.proteins[:1], (), {})), tmp_path / "cell")
    assert record.curves["ci_low"].isna().all()
    assert record.result["provenance"]["sequences_skipped"] == {}


class Hungry(Residual):
    """Wants more memory than there is for a long protein."""

    def measure(self, stack: LayerStack, example: Example) -> Values:
        if example.tokens.ids.shape[1] > 100:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 TB")
        return super().measure(stack, example)


def test_memory_that_does_not_suffice_names_the_protein(tmp_path: Path) -> None:
    cell = analysis()
    proteins = replace(cell.proteins, proteins=(Protein("small", "MKTV"), Protein("titin", "MKTV" * 50)))
    with pytest.raises(InputError, match="memory does not suffice for titin of 200 residues"):
        run_cell(replace(cell, proteins=proteins, metric=Hungry()), tmp_path / "cell", "")
    assert not (tmp_path / "cell" / "error.txt").exists()
