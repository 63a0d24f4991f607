"""A trained probe is read back as it was, and refused where it no longer fits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plmdepth.cells.cell import run_cell
from plmdepth.early_exit.confidence import ProteinConfidence, max_probability
from plmdepth.early_exit.spoken import Spoken, fitted_temperatures, listen, said_of
from plmdepth.early_exit.trained import TrainedProbe, load_probe
from plmdepth.errors import InputError
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.tasks.task import Kind
from tests.probes.cells import QUICK, cell_of, task_of


def trained(folder: Path, kind: Kind = "multiclass", **recipe: object) -> tuple[ProbeCell, TrainedProbe]:
    cell = cell_of(task_of(kind), folder, replace(QUICK, epochs=2, **recipe))
    run_cell(cell, folder / "run", "{}")
    return cell, load_probe(cell, folder / "run")


def classes_said(probe: TrainedProbe, spoken: Spoken) -> Tensor:
    return said_of(probe, "valid", spoken, ProteinConfidence(max_probability), 0).probabilities.argmax(-1)


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
def test_it_reads_a_protein_layer_by_layer_as_training_did(tmp_path: Path, pooling: str) -> None:
    cell, probe = trained(tmp_path, pooling=pooling)
    logits, labels, counts = listen(probe, "test")
    assert counts.tolist() == [1] * len(labels)
    assert labels.tolist() == [int(each.label) for each in cell.task.splits["test"]]
    protein = cell.task.splits["test"][0].protein
    tokens = spelt(probe.stack, [protein.sequence], probe.device)
    with torch.no_grad():
        state, call = probe.stack.embed(tokens)
        places = probe.reader.places(tokens)
        for layer in range(1, 7):
            state = probe.stack.apply_layer(layer, state, call)
            found = probe.predict(layer, probe.reader.rows(layer, state, places))
            torch.testing.assert_close(found[0], logits[layer, 0].softmax(-1), rtol=0, atol=1e-4)


def test_temperatures_change_how_sure_it_is_and_not_what_it_says(tmp_path: Path) -> None:
    _, probe = trained(tmp_path)
    spoken = listen(probe, "valid")
    logits, labels, _ = spoken
    temperatures = fitted_temperatures(probe, spoken)
    hot = replace(probe, temperatures=temperatures)
    assert temperatures.shape == (7,)
    features = torch.randn(5, probe.stack.width)
    with torch.no_grad():
        wanted = (probe.heads.read(3, features) / temperatures[3].float()).softmax(-1)
        torch.testing.assert_close(hot.predict(3, features), wanted)
    before, after = (classes_said(each, spoken) for each in (probe, hot))
    assert torch.equal(before, after)
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
