"""A pretraining cell from a recipe to weights, in two steps."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from pytorch_lightning import Trainer

from plmdepth.cells.cell import run_cell
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.masked import Masked
from plmdepth.pretraining.recipe import Recipe
from plmdepth.pretraining.run import Pretraining
from plmdepth.proteins.datasets.demo import DemoDataset
from tests.stacks import ALL

TRAINER = partial(
    Trainer, accelerator="cpu", enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False
)
RECIPE = Recipe(steps=2, batch_size=2, valid_size=2)


def cell_of(**model: object) -> Pretraining:
    options = {"objective": {"mask_fraction": 0.15}, "training": vars(RECIPE)}
    dataset = DemoDataset(name="demo")
    return Pretraining(replace(ALL["prot_t5"], **model), dataset, Masked(0.15), RECIPE, TRAINER, 0, options)


@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
def test_a_miniature_of_an_encoder_decoder_is_trained_saved_and_read_again(tmp_path: Path) -> None:
    cell = cell_of(n_layers=24, width=1024, miniature=True)
    run_cell(cell, tmp_path / "cell", "{}")
    weights = tmp_path / "cell" / "weights"
    assert "with 4 layers of width 32" in (weights / "README.md").read_text()
    assert "model.miniature=true" in (weights / "README.md").read_text()
    small = replace(cell.model.resolved(), weights=str(weights))
    assert load_stack(small, seed=0).n_layers == 4
    scores = json.loads((tmp_path / "cell" / "result.json").read_text())["scalars"]
    assert scores["all/model"] > scores["all/coupling_oracle"]


def test_a_miniature_is_another_cell_than_the_model_of_true_size() -> None:
    assert cell_of(n_layers=24).identity.id != cell_of(n_layers=24, miniature=True).identity.id
