"""ESM3 with coordinates, all the way from a protein to the states.

`golden/esm3_coordinates.safetensors` holds what ``ESM3.logits`` (github.com/evolutionaryscale/esm, commit 6e89bf7) gave
for an ``ESMProteinTensor`` of sequence tokens and coordinates alone, in float32 at the size of `TINY` with
`drawn_weights`. One protein at a time, without padding: ``backbone`` is a random walk around (20, 20, 20), residues 5
and 9 of the longer one all NaN, residue 12 without N and 17 without C; the special tokens' coordinates are infinite, as
the published tokenizer has them. ``both`` has the residues of `HIDDEN` masked, ``structure`` all of them. ``ids`` are
the tokens, ``states`` those that enter block 1 and leave each block, before the final norm, and ``logits`` those of the
sequence.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import send_to_device
from torch import Tensor

from plmdepth.cells.inputs import inputs_of
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.interventions.descent import Rows, clean_descent
from plmdepth.interventions.skipping import skipped
from plmdepth.language_models.families.esmc import SPELLING
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.modules.esm3.tracks import Tracks
from plmdepth.language_models.spelling.spelling import Presented
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.erasure import Erasure
from plmdepth.metrics.gradients import Gradients
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Metric
from plmdepth.metrics.residual import Residual
from plmdepth.objectives.masked import Masked
from plmdepth.proteins.protein import Protein
from plmdepth.proteins.selection import ProteinSet
from tests.certificate import Certify
from tests.golden.recipe import golden
from tests.language_models.families.test_esm3 import TINY
from tests.recorder import Recorder
from tests.stacks import ALL, PROTEINS, example_for, stack_of, walk

THEIRS = golden("esm3_coordinates")[0]
SEQUENCES = {"long": "MKTAYIAKQRQISFVKSHFSRQ", "short": "MADEEKLPPG"}
HIDDEN = {"long": [3, 8, 9, 17], "short": [1, 6]}
GIVEN = tuple(Protein(name, text, backbone=THEIRS[f"{name}.backbone"].numpy()) for name, text in SEQUENCES.items())
OBJECTIVE = Masked(0.3)
each_modality = pytest.mark.parametrize("modality", ["both", "structure"])


def hidden(stack: LayerStack) -> Presented:
    tokens = stack.spelling.spell(GIVEN)
    targets = torch.zeros_like(tokens.residues)
    for row, protein in enumerate(GIVEN):
        targets[row, stack.spelling.tokens_of_residues(tokens, row)[HIDDEN[protein.id]]] = True
    return stack.spelling.present(tokens, targets)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@each_modality
def test_states_and_logits_of_a_padded_batch_equal_the_published_inference(
    tmp_path: Path, modality: str, attention: str, certify: Certify
) -> None:
    torch.save(golden("esm3_coordinates")[1], tmp_path / "esm3.pth")
    model: Any = replace(TINY, modality=modality, attention=attention, weights=str(tmp_path / "esm3.pth"))
    stack, seen = load_stack(model, seed=0), Recorder()
    tokens = hidden(stack).tokens
    final = stack.run(tokens, [seen])
    for row, protein in enumerate(GIVEN):
        case, own = f"{modality}.{protein.id}", tokens.attended[row]
        assert torch.equal(tokens.ids[row, own], THEIRS[f"{case}.ids"])
        certify(
            f"esm3, {modality}",
            f"evolutionaryscale/esm, {attention} (golden)",
            [state[row, own] for state in seen.states],
            list(THEIRS[f"{case}.states"]),
            stack.logits(final)[row, own],
            THEIRS[f"{case}.logits"],
        )


def test_coordinates_lie_beside_their_residues_and_nowhere_else() -> None:
    tokens = stack_of("esm3_both", n_layers=1).spelling.spell(GIVEN)
    assert tokens.coordinates is not None
    for row, protein in enumerate(GIVEN):
        beside = tokens.coordinates[row, tokens.residues[row]]
        np.testing.assert_array_equal(beside.numpy(), protein.backbone)
    assert tokens.coordinates[~tokens.residues].isnan().all()
    alone = tokens.sequence(1).coordinates
    assert alone is not None
    np.testing.assert_array_equal(alone.numpy(), tokens.coordinates[1:, :12].numpy())
    moved = tokens.to("meta").coordinates
    assert moved is not None
    assert moved.device.type == "meta"


def test_the_same_residues_are_targets_and_context_whatever_is_read() -> None:
    examples = {name: example_for(stack_of(name, n_layers=1)) for name in ("esm3", "esm3_structure", "esm3_both")}
    alone, structure, both = examples.values()
    for example in (structure, both):
        assert example.targets == alone.targets
        for name in ("labels", "scored", "context"):
            assert torch.equal(getattr(example, name), getattr(alone, name))
        assert torch.equal(example.tokens.residues, alone.tokens.residues)
    assert torch.equal(both.tokens.ids, alone.tokens.ids)
    residues = structure.tokens.residues
    assert (structure.tokens.ids[residues] == SPELLING.mask).all()
    assert torch.equal(structure.tokens.ids[~residues], alone.tokens.ids[~residues])
    assert (structure.labels[structure.scored] != SPELLING.mask).all()


def probabilities(modality: str, *proteins: Protein) -> Tensor:
    stack: LayerStack = stack_of("esm3", modality=modality)
    example = OBJECTIVE.present(proteins, stack.spelling, seed=0)
    with torch.no_grad():
        return stack.logits(stack.run(example.tokens))[example.scored].softmax(-1)


def test_every_modality_predicts_something_else() -> None:
    sequence, structure, both = (probabilities(each, *PROTEINS) for each in ("sequence", "structure", "both"))
    for one, other in ((sequence, structure), (sequence, both), (structure, both)):
        assert (one - other).abs().max() > 1e-3


def test_another_structure_changes_the_prediction_and_with_structure_alone_no_residue_does() -> None:
    texts = "MKTVRQERLKSIVRILERSK", "GGGGWWWWPPPPCCCCHHHH"
    first, moved = (Protein("a", texts[0], backbone=walk(20, seed)) for seed in (0, 1))
    other = Protein("a", texts[1], backbone=walk(20))
    for modality in ("both", "structure"):
        assert (probabilities(modality, first) - probabilities(modality, moved)).abs().max() > 1e-3
    assert torch.equal(probabilities("sequence", first), probabilities("sequence", moved))
    stack = stack_of("esm3_structure")
    mine, theirs = (OBJECTIVE.present([each], stack.spelling, seed=0).tokens for each in (first, other))
    assert torch.equal(stack.run(mine), stack.run(theirs))
    whole = stack_of("esm3_both")
    mine, theirs = (OBJECTIVE.present([each], whole.spelling, seed=0).tokens for each in (first, other))
    assert (whole.run(mine) - whole.run(theirs)).abs().max() > 0.1


def test_with_all_residues_as_targets_both_is_structure_alone() -> None:
    both, structure = (stack_of(f"esm3_{each}") for each in ("both", "structure"))
    everything = Masked(1.0).present(GIVEN, both.spelling, seed=0).tokens
    assert torch.equal(both.run(everything), structure.run(example_for(structure, GIVEN).tokens))


def test_of_a_backbone_without_a_complete_residue_geometry_adds_exactly_nothing() -> None:
    stack, added = stack_of("esm3_both"), []
    alpha = walk(20).copy()
    alpha[:, 0] = np.nan
    stack.anatomy.second_attention_outputs[0].register_forward_hook(lambda _m, _i, output: added.append(output))
    for backbone in (alpha, walk(20)):
        stack.run(
            OBJECTIVE.present([Protein("a", "MKTVRQERLKSIVRILERSK", backbone=backbone)], stack.spelling, 0).tokens
        )
    nothing, something = added
    assert (nothing == 0).all()
    assert something[0, 1].any()
    assert (something[0, [0, 3, 21]] == 0).all()  # special tokens, and the residue that is not resolved


def test_what_attention_adds_in_layer_1_is_the_sum_of_both_attentions() -> None:
    stack, seen, added = stack_of("esm3_both"), Recorder(), {}
    block = stack.module.transformer.blocks[0]
    for name in ("attn", "geom_attn"):
        part = getattr(block, name)
        part.register_forward_hook(lambda _m, _i, output, name=name: added.__setitem__(name, output))
    stack.run(example_for(stack).tokens, [seen])
    assert [len(stack.anatomy.attention_parts(layer)) for layer in range(1, 7)] == [2, 1, 1, 1, 1, 1]
    attention = (added["attn"] + added["geom_attn"]) / stack.anatomy.residual_scale
    torch.testing.assert_close(seen.views[0].attention, attention, rtol=0, atol=1e-6)
    assert added["geom_attn"].abs().max() > 0.01


def test_skipping_attention_silences_both_attentions() -> None:
    stack = stack_of("esm3_both")
    tokens = example_for(stack).sequence(0).tokens
    with torch.no_grad():
        descent = clean_descent(stack, tokens)
        found = skipped(stack, descent, 1, "attention", tokens.residues[0])
        block = stack.module.transformer.blocks[0]
        expected = descent.states[0] + block.ffn(descent.states[0]) / block.scaling_factor
    torch.testing.assert_close(found[:, 1:-1], expected[:, 1:-1], rtol=0, atol=1e-6)
    assert (found[:, 0] - expected[:, 0]).abs().max() > 1e-3


def test_a_dead_first_layer_adds_exactly_nothing() -> None:
    stack, seen = DeadLayers([1]).stack(stack_of("esm3_both")), Recorder()
    stack.run(example_for(stack).tokens, [seen])
    assert torch.equal(seen.states[1], seen.states[0])
    assert not torch.equal(seen.states[2], seen.states[1])


@each_modality
def test_the_call_of_one_protein_serves_any_number_of_branches(modality: str) -> None:
    stack = stack_of(f"esm3_{modality}")
    with torch.no_grad():
        descent = clean_descent(stack, example_for(stack).sequence(0).tokens)
        rows = torch.cat([descent.states[0], descent.states[0].flip(1), descent.states[0] + 1])
        together = Rows(stack, descent.call, most=2).apply(1, rows)
        alone = [stack.apply_layer(1, rows[row : row + 1], descent.call) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


METRICS: dict[str, Callable[[], Metric]] = {
    "logit_lens": LogitLens,
    "residual": Residual,
    "gradients": Gradients,
    "layer_skip": lambda: LayerSkip(scope="targets"),
    "erasure": lambda: Erasure(max_positions=2, max_layers=2),
}


@each_modality
@pytest.mark.parametrize("name", METRICS)
def test_measurements_of_a_padded_batch_are_those_of_each_protein_alone(modality: str, name: str) -> None:
    stack = stack_of(f"esm3_{modality}", n_layers=2)
    batch = OBJECTIVE.present(PROTEINS, stack.spelling, seed=0)
    metric = METRICS[name]().prepared(stack, [batch])
    values = metric.measure(stack, batch).curves
    assert values.isfinite().any()
    for row, protein in enumerate(PROTEINS):
        alone = metric.measure(stack, OBJECTIVE.present([protein], stack.spelling, seed=0)).curves
        torch.testing.assert_close(values[row : row + 1], alone, rtol=1e-4, atol=1e-5, equal_nan=True)


@each_modality
def test_a_protein_without_coordinates_is_refused_in_one_line(modality: str) -> None:
    model = ALL[f"esm3_{modality}"]
    given = ProteinSet(PROTEINS, (), {})
    alpha = walk(2).copy()
    alpha[:, 2] = np.nan
    for backbone in (None, alpha):
        lacking = Protein("lacking", "MK", backbone=backbone)
        with pytest.raises(
            InputError,
            match=rf"^model\.modality={modality} reads coordinates, and lacking has no residue with N, CA and C; "
            r"use dataset=structures with dataset\.path=DIR$",
        ):
            inputs_of(model, replace(given, proteins=(*PROTEINS, lacking)))
    with pytest.raises(InputError, match=r"^b has no coordinates, which the model reads$"):
        model.spelling.spell([GIVEN[0], Protein("b", "MK")])
    with pytest.raises(InputError, match=r"only letters are given here; use model\.modality=sequence$"):
        model.spelling.encode(["MK"])


def test_coordinates_count_for_the_identity_where_they_are_read_and_structure_tokens_do_not() -> None:
    given = ProteinSet(PROTEINS, (), {})
    bare = ProteinSet(tuple(Protein(each.id, each.sequence) for each in PROTEINS), (), {})
    placed = ProteinSet(tuple(each.keeping(tokens=False, backbone=True) for each in PROTEINS), (), {})
    for modality in ("both", "structure"):
        assert inputs_of(ALL[f"esm3_{modality}"], given).digest == placed.digest != bare.digest
    assert inputs_of(ALL["esm3"], given).digest == bare.digest
    assert all(each.backbone is None for each in inputs_of(ALL["dplm2_both"], given).proteins)


def test_the_tracks_are_moved_to_the_device_of_a_module_that_is_spread_over_several() -> None:
    moved = send_to_device(Tracks(coordinates=torch.zeros(1, 2, 3, 3)), torch.device("meta"), non_blocking=True)
    assert moved.coordinates is not None
    assert moved.coordinates.device.type == "meta"
    assert moved.confidence is None
