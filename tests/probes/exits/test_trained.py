"""A trained probe is read back as it was, and refused where it no longer fits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plmdepth.errors import InputError
from plmdepth.probes.exits.trained import TrainedProbe, fitted_temperatures, load_probe, said_with
from plmdepth.probes.layerwise.features import spelt
from plmdepth.probes.layerwise.readers import Readers
from plmdepth.probes.layerwise.recipe import ResidueLinearRecipe
from plmdepth.probes.layerwise.run import ProbeCell, run_probe_cell
from plmdepth.proteins.tasks.task import Kind
from tests.probes.cells import QUICK, cell_of, task_of


def trained(folder: Path, kind: Kind = "multiclass", **recipe: object) -> tuple[ProbeCell, TrainedProbe]:
    cell = cell_of(task_of(kind), folder, replace(QUICK, epochs=2, **recipe))
    run_probe_cell(cell, folder / "run", "{}")
    return cell, load_probe(cell, folder / "run")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_it_reads_a_protein_layer_by_layer_as_training_did(tmp_path: Path, pooling: str) -> None:
    cell, probe = trained(tmp_path, pooling=pooling)
    logits, labels = probe.logits(Readers(cell, probe.stack, probe.device), "test")
    assert labels.tolist() == [int(each.label) for each in cell.task.splits["test"]]
    protein = cell.task.splits["test"][0].protein
    tokens = spelt(probe.stack, [protein.sequence], probe.device)
    with torch.no_grad():
        state, call = probe.stack.embed(tokens)
        for layer in range(1, 7):
            state = probe.stack.apply_layer(layer, state, call)
            found = probe.predict(layer, probe.pool(state, tokens.residues))
            torch.testing.assert_close(found[0], logits[layer, 0].softmax(-1), rtol=0, atol=1e-4)


def test_temperatures_change_how_sure_it_is_and_not_what_it_says(tmp_path: Path) -> None:
    cell, probe = trained(tmp_path)
    logits, labels = probe.logits(Readers(cell, probe.stack, probe.device), "valid")
    temperatures = fitted_temperatures(probe, logits, labels)
    hot = replace(probe, temperatures=temperatures)
    assert temperatures.shape == (7,)
    features = torch.randn(5, probe.stack.width)
    with torch.no_grad():
        wanted = (probe.heads.read(3, features) / temperatures[3].float()).softmax(-1)
        torch.testing.assert_close(hot.predict(3, features), wanted)
    assert torch.equal(
        said_with(logits, temperatures, probe).argmax(-1), said_with(logits, probe.temperatures, probe).argmax(-1)
    )
    loss = torch.nn.functional.cross_entropy
    for layer in range(7):
        before, after = loss(logits[layer], labels), loss(logits[layer] / temperatures[layer].float(), labels)
        assert after <= before + 1e-6


def test_terms_are_independent_of_each_other(tmp_path: Path) -> None:
    _, probe = trained(tmp_path, "multilabel")
    features = torch.randn(5, probe.stack.width)
    with torch.no_grad():
        torch.testing.assert_close(probe.predict(2, features), probe.heads.read(2, features).sigmoid())


def test_heads_of_other_weights_or_labels_are_refused(tmp_path: Path) -> None:
    cell, _ = trained(tmp_path)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"probe_run=.*run: the weights changed since; train the probe again"):
        load_probe(replace(cell, seed=1), run)  # random weights are those of the seed
    with pytest.raises(InputError, match=r"probe_run=.*run: the task changed since; train the probe again"):
        load_probe(replace(cell, task=task_of("multiclass", test=41)), run)
    with pytest.raises(InputError, match="labels of residues cannot leave early; choose a run of probe=linear or mlp"):
        load_probe(replace(cell, recipe=ResidueLinearRecipe()), run)
