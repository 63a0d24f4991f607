"""A trained probe is read back as it was, and refused where it no longer fits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from plmdepth.cells.cell import run_cell
from plmdepth.early_exit.policy import ProteinConfidence, max_probability
from plmdepth.early_exit.study import HeadOutputs
from plmdepth.early_exit.trained_probe import (
    HeadLogits,
    TrainedProbe,
    check_memory,
    fitted_temperatures,
    head_logits,
    load_probe,
)
from plmdepth.errors import InputError
from plmdepth.probes.layerwise.cell import ProbeCell
from plmdepth.probes.layerwise.features import spelt
from plmdepth.proteins.tasks.task import Kind, Labelled
from tests.probes.cells import QUICK, cell_of, task_of
from tests.stacks import ALL


def trained(folder: Path, kind: Kind = "multiclass", **recipe: object) -> tuple[ProbeCell, TrainedProbe]:
    cell = cell_of(task_of(kind), folder, replace(QUICK, epochs=2, **recipe))
    run_cell(cell, folder / "run", "{}")
    return cell, load_probe(cell, folder / "run")


def predicted_classes(probe: TrainedProbe, valid: HeadLogits) -> Tensor:
    return HeadOutputs.of(probe, "valid", valid, ProteinConfidence(max_probability), 0).probabilities.argmax(-1)


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
def test_it_reads_a_protein_layer_by_layer_as_training_did(tmp_path: Path, pooling: str) -> None:
    cell, probe = trained(tmp_path, pooling=pooling)
    logits, labels, counts = head_logits(probe, "test")
    assert counts.tolist() == [1] * len(labels)
    assert labels.tolist() == [int(each.label) for each in cell.task.splits["test"]]
    protein = cell.task.splits["test"][0].protein
    tokens = spelt(probe.stack, [protein.sequence], probe.device)
    with torch.no_grad():
        state, call = probe.stack.embed(tokens)
        places = probe.inputs.places(tokens)
        for layer in range(1, 7):
            state = probe.stack.apply_layer(layer, state, call)
            found = probe.predict(layer, probe.inputs.rows(layer, state, places))
            torch.testing.assert_close(found[0], logits[layer, 0].softmax(-1), rtol=0, atol=1e-4)


def test_temperatures_change_how_sure_it_is_and_not_what_it_predicts(tmp_path: Path) -> None:
    _, probe = trained(tmp_path)
    valid = head_logits(probe, "valid")
    logits, labels, _ = valid
    temperatures = fitted_temperatures(probe, valid)
    hot = replace(probe, temperatures=temperatures)
    assert temperatures.shape == (7,)
    features = torch.randn(5, probe.stack.width)
    with torch.no_grad():
        wanted = (probe.heads.read(3, features) / temperatures[3].float()).softmax(-1)
        torch.testing.assert_close(hot.predict(3, features), wanted)
    before, after = (predicted_classes(each, valid) for each in (probe, hot))
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


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_class_that_train_lacks_is_predicted_by_no_head(tmp_path: Path, pooling: str) -> None:
    task = task_of("multiclass", train=40)
    known = tuple(Labelled(each.protein, each.label % 2) for each in task.splits["train"])
    task = replace(task, splits={**task.splits, "train": known})
    cell = cell_of(task, tmp_path, replace(QUICK, epochs=2, pooling=pooling))
    run_cell(cell, tmp_path / "run", "{}")
    probe = load_probe(cell, tmp_path / "run")
    valid = head_logits(probe, "valid")
    assert (valid.labels == 2).any()
    assert (valid.logits[..., 2] == -torch.inf).all()
    assert valid.logits[..., :2].isfinite().all()
    assert fitted_temperatures(probe, valid).isfinite().all()


def test_heads_of_other_weights_or_labels_are_refused(tmp_path: Path) -> None:
    cell, _ = trained(tmp_path)
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"probe_run=.*run: the weights changed since; train the probe again"):
        load_probe(replace(cell, seed=1), run)  # random weights are those of the seed
    with pytest.raises(InputError, match=r"probe_run=.*run: the task changed since; train the probe again"):
        load_probe(replace(cell, task=task_of("multiclass", test=41)), run)


def test_logits_of_residues_come_in_the_order_of_the_protein_however_it_is_spelt(tmp_path: Path) -> None:
    task = task_of("residue", train=20, valid=4, test=5)
    cell = cell_of(task, tmp_path, replace(QUICK, epochs=2), model=ALL["progen2_reverse"])
    run_cell(cell, tmp_path / "run", "{}")
    probe = load_probe(cell, tmp_path / "run")
    test = head_logits(probe, "test")
    assert test.labels.tolist() == [int(label) for each in task.splits["test"] for label in each.label]
    each = task.splits["test"][2].protein
    tokens = probe.stack.spelling.encode([each.sequence])
    with torch.no_grad():
        state, _ = probe.stack.embed(tokens)
        states = state[0, tokens.residues[0]].flip(0)
        wanted = probe.heads.read(0, states)
    start = int(test.counts[:2].sum())
    torch.testing.assert_close(test.logits[0, start : start + len(each)], wanted, rtol=0, atol=1e-5)


def test_answers_that_would_not_fit_are_refused() -> None:
    task = task_of("residue", valid=10, test=20)
    rows = sum(len(each.protein) for split in ("valid", "test") for each in task.splits[split])
    needed = 3 * 4 * 7 * rows * 3 / 1e9
    check_memory(task, ["valid", "test"], 6, needed * 1.01)
    with pytest.raises(InputError, match=r"the answers of all heads take 0.00 GB, exit.memory_gigabytes is"):
        check_memory(task, ["valid", "test"], 6, needed * 0.99)
