"""Fitting whole cells: what is planted is found, the model stays as it is, the record is complete."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from plmdepth.cells.cell import run_cell
from plmdepth.commands.objects import build
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.lens import TunedLens
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.translators import Translators, readout_digest
from plmdepth.objectives.autoregressive import Autoregressive
from plmdepth.objectives.masked import Masked
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.grammar.sampling import sample_proteins
from plmdepth.proteins.protein import Protein
from plmdepth.results.record import CURVE_COLUMNS, SEQUENCE_COLUMNS, Record, read_record
from plmdepth.tuned_lens.batches import ShuffledPasses
from plmdepth.tuned_lens.fitting import LensFitting
from plmdepth.tuned_lens.recipe import TunedLensRecipe
from plmdepth.tuned_lens.run import LensCell
from plmdepth.tuned_lens.scoring import divergences
from tests.stacks import EVERYWHERE, PROTEINS, example_for, stack_of


def quiet_trainer(**options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    return Trainer(
        accelerator="cpu", devices=1, enable_progress_bar=False, inference_mode=False, **{**quiet, **options}
    )


def fit(stack: LayerStack, proteins: tuple[Protein, ...] = PROTEINS, **options: Any) -> LensFitting:
    recipe = TunedLensRecipe(**options)
    objective = Autoregressive() if stack.spelling.mask is None else Masked(0.3)
    batches = ShuffledPasses(
        proteins, objective, stack.spelling, batch_size=recipe.batch_size, n_batches=recipe.steps, seed=0
    )
    fitting = LensFitting(stack, recipe, batches)
    loaders = [DataLoader(batches, batch_size=None) for _ in range(2)]
    quiet_trainer(max_epochs=1, log_every_n_steps=1, num_sanity_val_steps=0).fit(fitting, *loaders)
    return fitting


def tiny(conf: Path, name: str) -> LanguageModel:
    with initialize_config_dir(str(conf), version_base="1.3"):
        model = build(compose("analyze", overrides=[f"model={name}"]), "model")
    assert isinstance(model, LanguageModel)
    return model


def cell(model: LanguageModel = EVERYWHERE["esm2"], size: int = 12, **changes: Any) -> LensCell:
    dataset = DemoDataset(name="demo", split="train", size=size, tokens_per_batch=1024)
    whole = LensCell(
        model=model,
        dataset=dataset,
        proteins=dataset.proteins(model.max_length, seed=0),
        objective=Autoregressive() if model.spelling.mask is None else Masked(),
        recipe=TunedLensRecipe(steps=4, batch_size=4),
        trainer=quiet_trainer,
        seed=0,
        options={},
    )
    return replace(whole, **changes)


def record_of(whole: LensCell, folder: Path) -> Record:
    run_cell(whole, folder, config="seed: 0\n")
    return read_record(folder)


def values(record: Record, quantity: str) -> list[float]:
    return record.curves[record.curves["quantity"] == quantity].sort_values("layer")["value"].tolist()


class Rotation(nn.Module):
    """A layer that turns the stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.turn = nn.Parameter(torch.linalg.qr(torch.randn(width, width, generator=generator)).Q)

    def forward(self, state: Tensor, *args: object, **kwargs: object) -> Tensor:
        return state @ self.turn.T


def rotated_at_the_end() -> tuple[LayerStack, Tensor]:
    """Layers 3 to 5 add nothing; layer 6 turns the stream: from layer 2 on, one linear map leads to the end."""
    stack = DeadLayers(layers=[3, 4, 5]).stack(stack_of("progen2"))
    last = Rotation(32)
    turned = replace(stack, anatomy=replace(stack.anatomy, layers=[*stack.anatomy.layers[:-1], last]))
    last.requires_grad_(False)
    return turned, last.turn


def test_the_translator_that_is_planted_reads_exactly() -> None:
    stack, turn = rotated_at_the_end()
    known = Translators((turn - torch.eye(32)).expand(6, 32, 32), torch.zeros(6, 32))
    before, after = divergences(stack, known, example_for(stack)).mean(0)
    assert (before[2:6] > 0.2).all()
    assert (after[2:6] < 1e-5).all()
    assert (after[:2] > 1e-2).all()


def test_a_planted_rotation_is_found() -> None:
    stack, _ = rotated_at_the_end()
    proteins = tuple(Protein(each.id, each.sequence[:60]) for each in sample_proteins(0, "train", 64))
    found = fit(stack, proteins, steps=120, batch_size=8, weight_decay=0.0).translators.folded()
    before, after = divergences(stack, found, example_for(stack)).mean(0)
    assert (after[2:6] < 0.02 * before[2:6]).all()
    assert (after[:2] > 2 * after[2]).all()


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
def test_only_the_translators_learn(family: str) -> None:
    stack = stack_of(family)
    weights = {name: tensor.clone() for name, tensor in stack.module.state_dict().items()}
    modes: list[bool] = []
    handle = stack.module.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    fitting = fit(stack, steps=3, batch_size=2)
    handle.remove()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in stack.module.state_dict().items())
    assert all(not p.requires_grad and p.grad is None for p in stack.module.parameters())
    assert modes
    assert not any(modes)
    assert [name for name, _ in fitting.named_parameters()] == ["translators.weight", "translators.bias"]
    moved = [(parameter != 0).flatten(1).any(1).tolist() for parameter in fitting.parameters()]
    # ESM-2 embeds the mask token as zero: there is nothing to multiply at layer 0.
    assert moved == [[family != "esm2"] + [True] * 5, [True] * 6]


@pytest.mark.parametrize("family", sorted(EVERYWHERE))
def test_the_gradient_of_a_layer_is_that_of_its_own_divergence(family: str) -> None:
    stack = stack_of(family)
    none = ShuffledPasses((), Masked(), stack.spelling, batch_size=1, n_batches=1, seed=0)
    fitting = LensFitting(stack, TunedLensRecipe(), none)
    example = example_for(stack)
    (whole,) = torch.autograd.grad(fitting.divergences(example).sum(), fitting.translators.bias)
    for layer in range(stack.n_layers):
        (alone,) = torch.autograd.grad(fitting.divergences(example)[layer], fitting.translators.bias)
        assert (alone.abs().amax((1, 2)) > 0).nonzero()[:, 0].tolist() == [layer]
        torch.testing.assert_close(alone[layer], whole[layer])


def test_a_batch_without_targets_teaches_nothing() -> None:
    unknown = Protein("unknown", "XXXX")
    fitting = fit(stack_of("esm2"), (unknown,), steps=2)
    example = Masked().present([unknown], stack_of("esm2").spelling, seed=0)
    assert fitting.divergences(example).tolist() == [0] * 6
    assert all((parameter == 0).all() for parameter in fitting.parameters())


def test_a_cell_leaves_a_complete_record(tmp_path: Path) -> None:
    record = record_of(cell(), tmp_path / "cell")
    found = {str(path.relative_to(record.folder)) for path in record.folder.rglob("*") if path.is_file()}
    assert found == {
        *("config.yaml", "status.json", "result.json", "curves.parquet", "sequences.parquet", "log.csv"),
        *("lens/translators.safetensors", "lens/lens.json"),
    }
    assert pq.read_schema(record.folder / "curves.parquet").equals(CURVE_COLUMNS)
    assert pq.read_schema(record.folder / "sequences.parquet").equals(SEQUENCE_COLUMNS)
    for quantity in ("kl_before", "kl_after"):
        rows = record.curves[record.curves["quantity"] == quantity]
        assert rows["layer"].tolist() == [0, 1, 2, 3, 4, 5]
        assert set(rows["metric"]) == {"tuned_lens"}
        assert set(rows["unit"]) == {"nats"}
        assert record.result["layers"][quantity] == pytest.approx(rows["value"].tolist())
        assert record.result["scalars"][f"mean_{quantity}"] == pytest.approx(rows["value"].mean())
    description = json.loads((record.folder / "lens" / "lens.json").read_text())
    assert description["readout_sha256"] == readout_digest(load_stack(EVERYWHERE["esm2"], 0))
    assert (record.folder / "log.csv").read_text().startswith("epoch,step,")


def test_before_the_fit_is_the_logit_lens_and_after_it_is_what_the_lens_reads(tmp_path: Path) -> None:
    whole = cell(recipe=TunedLensRecipe(steps=4, batch_size=4, held_out=0.25))
    record = record_of(whole, tmp_path / "cell")
    stack = load_stack(whole.model, 0)
    held_out = {row["id"] for row in pq.read_table(record.folder / "sequences.parquet").to_pylist()}
    assert len(held_out) == 3
    lens = TunedLens(str(record.folder / "lens"))
    averages = {"kl_before": torch.zeros(6, dtype=torch.float64), "kl_after": torch.zeros(6, dtype=torch.float64)}
    for protein in (protein for protein in whole.proteins.proteins if protein.id in held_out):
        example = whole.objective.present([protein], stack.spelling, 0)
        states = [state[example.scored] for state in all_states(stack, example.tokens)]
        p = distribution(stack, stack.logits(states[-1]))
        for layer in range(6):
            for name, logits in (
                ("kl_before", stack.logits(states[layer])),
                ("kl_after", lens.logits(stack, layer, states[layer])),
            ):
                q = distribution(stack, logits)
                averages[name][layer] += (p * (p / q).log()).sum(-1).mean() / 3
    for name, expected in averages.items():
        assert values(record, name) == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-5)


def all_states(stack: LayerStack, tokens: Any) -> list[Tensor]:
    with torch.no_grad():
        state, call = stack.embed(tokens)
        states = [state]
        for layer in range(1, stack.n_layers + 1):
            states.append(stack.apply_layer(layer, states[-1], call))
    return states


def distribution(stack: LayerStack, logits: Tensor) -> Tensor:
    return logits.detach()[:, stack.spelling.amino_acids].double().softmax(-1)


def test_a_short_fit_brings_every_layer_of_a_trained_model_nearer_on_held_out_proteins(
    conf: Path, tmp_path: Path
) -> None:
    recipe = TunedLensRecipe(steps=40, batch_size=8, held_out=0.2)
    record = record_of(cell(tiny(conf, "tiny_autoregressive"), size=80, recipe=recipe), tmp_path / "cell")
    before, after = values(record, "kl_before"), values(record, "kl_after")
    assert len(before) == 12
    assert all(b <= a for a, b in zip(before, after, strict=True))
    assert sum(after) < 0.8 * sum(before)


def test_a_cell_repeats_bit_for_bit_whatever_the_order_of_the_proteins(tmp_path: Path) -> None:
    first = cell()
    turned = replace(first, proteins=replace(first.proteins, proteins=first.proteins.proteins[::-1]))
    digests = [
        record_of(each, tmp_path / name).result["lens"]["translators"] for each, name in ((first, "a"), (turned, "b"))
    ]
    assert digests[0] == digests[1]
    assert first.identity.id == turned.identity.id


def test_the_identity_names_what_decides_the_translators() -> None:
    first = cell()
    assert first.identity.folder(Path("out")).parts[:-1] == ("out", "train", "esm2", "demo", "tuned_lens")
    others = [cell(size=13), cell(seed=1), cell(options={"probe": {"steps": 5}}), cell(EVERYWHERE["progen2"])]
    assert len({each.identity.id for each in (first, *others)}) == 5


def test_the_lens_is_read_by_the_metric(tmp_path: Path) -> None:
    whole = cell(recipe=TunedLensRecipe(steps=30, batch_size=8))
    record = record_of(whole, tmp_path / "cell")
    stack = load_stack(whole.model, 0)
    example = example_for(stack)
    tuned = LogitLens(lens=TunedLens(str(record.folder / "lens"))).measure(stack, example).curves
    assert not torch.equal(tuned, LogitLens().measure(stack, example).curves)
