"""ESM3 against EvolutionaryScale's implementation: with the sequence alone, and with all tracks.

`golden/esm3.safetensors` holds what ``esm.models.esm3.ESM3`` (github.com/evolutionaryscale/esm, commit 6e89bf7) gave in
float32 at width 24, 3 heads, 4 geometric heads and 3 layers, with `drawn_weights` for its state dict:

* ``sequence.*``: three sequences of other lengths, some tokens masked, ``sequence_id`` 1 for tokens and 0 for padding;
  the state that enters block 1 and those that leave each block, before the final norm; the logits.
* ``unmasked.logits``: of the last and shortest of them in the same batch, without ``sequence_id``.
* ``tracks.*``: two proteins, one of two chains, with random tokens in all tracks and a random walk for a backbone, in
  which special tokens and one residue are NaN, one atom is infinite and one is too far; the logits of all tracks at
  ``rows``, those of the sequence everywhere.
* ``packed.state``: the last state of the same with one chain and several sequences a row, as ``sequence_id`` tells.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.errors import InputError
from plmdepth.language_models import weights
from plmdepth.language_models.families.esm3 import ESM3
from plmdepth.language_models.families.esmc import SPELLING
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.modules.esm3.geometry import geometry_of
from plmdepth.language_models.modules.esm3.tracks import Tracks, structure_tokens
from plmdepth.language_models.spelling.spelling import Tokens
from plmdepth.language_models.weights import load_stack, weights_place
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.golden.recipe import golden
from tests.recorder import Recorder
from tests.stacks import ALL, example_for, stack_of

_ESM3 = ESM3(name="esm3", family="esm3", objective="masked", n_geometric_heads=4, **SIZE)
FAMILY = FamilyCase(
    miniatures={
        "esm3": _ESM3,
        "esm3_structure": replace(_ESM3, modality="structure"),
        "esm3_both": replace(_ESM3, modality="both"),
    },
    fast=("esm3_both",),
    values=("attn.layernorm_qkv", 3),
    # with all 64 rows of the vocabulary and the heads of all tracks
    parameters={"esm3_1b": 1_401_735_748},
)

TINY = replace(_ESM3, width=24, n_heads=3, n_layers=3, n_geometric_heads=4)
TRACKS = {
    "structure": "structure_tokens",
    "secondary_structure": "ss8_tokens",
    "accessibility": "sasa_tokens",
    "function": "function_tokens",
    "annotations": "residue_annotation_tokens",
    "mean_confidence": "average_plddt",
    "confidence": "per_res_plddt",
    "coordinates": "structure_coords",
    "chains": "chain_id",
}
HEADS = {
    "structure": "structure_logits",
    "secondary_structure": "secondary_structure_logits",
    "accessibility": "sasa_logits",
    "function": "function_logits",
    "annotations": "residue_logits",
}


def tokens_of(ids: Tensor) -> Tokens:
    return Tokens(ids, attended=ids != SPELLING.pad, residues=(ids > 3) & (ids != 31))


def loaded(folder: Path, **changes: Any) -> LayerStack:
    file = folder / "esm3.pth"
    torch.save(golden("esm3")[1], file)
    return load_stack(replace(TINY, weights=str(file), **changes), seed=0)


def with_tracks(stack: LayerStack, tracks: Tracks) -> LayerStack:
    """Return a stack that reads other tracks too, as a model of another modality would."""
    given = stack.anatomy.inputs
    return replace(stack, anatomy=replace(stack.anatomy, inputs=lambda tokens: {**given(tokens), "tracks": tracks}))


def golden_tracks(rows: slice = slice(None), **changes: Any) -> Tracks:
    theirs = golden("esm3")[0]
    return replace(Tracks(**{ours: theirs[f"tracks.{name}"][rows] for ours, name in TRACKS.items()}), **changes)


def states_of(stack: LayerStack, tokens: Tokens) -> list[Tensor]:
    recorder = Recorder()
    stack.run(tokens, [recorder])
    return recorder.states


def furthest(ours: list[Tensor], theirs: Tensor) -> float:
    assert len(ours) == len(theirs)
    return max(float((mine - expected).abs().max()) for mine, expected in zip(ours, theirs, strict=True))


def test_the_published_checkpoint_fits_name_by_name() -> None:
    shapes = {name: tensor.shape for name, tensor in golden("esm3")[1].items()}
    module = TINY.architecture(TINY.architecture_config())
    assert {name: tensor.shape for name, tensor in module.state_dict().items()} == shapes


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_logits_of_a_padded_masked_batch_equal_the_reference(
    tmp_path: Path, attention: str, certify: Certify
) -> None:
    theirs, _ = golden("esm3")
    stack = loaded(tmp_path, attention=attention)
    states = states_of(stack, tokens_of(theirs["sequence.ids"]))
    oracle = f"evolutionaryscale/esm, {attention} (golden)"
    certify("esm3", oracle, states, theirs["sequence.states"], stack.logits(states[-1]), theirs["sequence.logits"])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_logits_of_all_tracks_equal_the_reference(tmp_path: Path, attention: str) -> None:
    theirs, _ = golden("esm3")
    stack = with_tracks(loaded(tmp_path, attention=attention), golden_tracks())
    states = states_of(stack, tokens_of(theirs["tracks.ids"]))
    assert furthest(states, theirs["tracks.states"]) <= 1e-5
    row, token = theirs["tracks.rows"].T
    normalised = stack.module.transformer.norm(states[-1])
    predicted = stack.module.output_heads(normalised)
    assert (predicted["sequence"] - theirs["tracks.sequence_logits"]).abs().max() <= 1e-5
    for head, name in HEADS.items():
        assert (predicted[head][row, token] - theirs[f"tracks.{name}"]).abs().max() <= 1e-5, head


def test_geometric_attention_prefers_its_own_sequence_and_hides_no_other(tmp_path: Path) -> None:
    theirs, _ = golden("esm3")
    tracks = golden_tracks(chains=None)
    with torch.no_grad():
        published = loaded(tmp_path).module(
            theirs["tracks.ids"], theirs["packed.sequence_id"], tracks, output_hidden_states=True
        )
    norm = loaded(tmp_path).module.transformer.norm
    assert published.hidden_states is not None
    assert (published.hidden_states[-1] - norm(theirs["packed.state"])).abs().max() <= 1e-5


def test_atoms_beyond_the_backbone_are_not_read(tmp_path: Path) -> None:
    theirs, _ = golden("esm3")
    backbone = theirs["tracks.structure_coords"]
    tracks = golden_tracks(coordinates=torch.cat([backbone, torch.full_like(backbone, torch.nan)], dim=2))
    states = states_of(with_tracks(loaded(tmp_path), tracks), tokens_of(theirs["tracks.ids"]))
    assert furthest(states, theirs["tracks.states"]) <= 1e-5


@pytest.mark.parametrize("track", TRACKS)
def test_every_track_is_read(tmp_path: Path, track: str) -> None:
    theirs, _ = golden("esm3")
    stack = with_tracks(loaded(tmp_path), golden_tracks(**{track: None}))
    states = states_of(stack, tokens_of(theirs["tracks.ids"]))
    assert furthest(states, theirs["tracks.states"]) > 0.1


def test_without_sequence_id_padding_would_be_read(tmp_path: Path) -> None:
    theirs, _ = golden("esm3")
    stack, tokens = loaded(tmp_path), tokens_of(theirs["sequence.ids"])
    with torch.no_grad():
        read = stack.module(tokens.ids).logits[2:]
    assert (read - theirs["unmasked.logits"]).abs().max() <= 1e-5
    own = tokens.attended[2:]
    assert (read - theirs["sequence.logits"][2:])[own].abs().max() > 0.1
    assert (stack.logits(stack.run(tokens))[2:] - read)[own].abs().max() > 0.1


def test_without_coordinates_geometric_attention_adds_exactly_nothing() -> None:
    stack = stack_of("esm3")
    tokens = example_for(stack).tokens
    unknown = torch.full((*tokens.ids.shape, 3, 3), torch.nan)
    state, _ = stack.embed(tokens)
    geometry = geometry_of(unknown, tokens.attended.long(), torch.zeros_like(tokens.ids))
    assert (stack.module.transformer.blocks[0].geom_attn(state, geometry) == 0).all()
    assert torch.equal(with_tracks(stack, Tracks(coordinates=unknown)).run(tokens), stack.run(tokens))


def test_only_the_first_block_reads_coordinates() -> None:
    blocks = stack_of("esm3").module.transformer.blocks
    assert [block.geom_attn is not None for block in blocks] == [True, *[False] * 5]


def test_turning_and_moving_a_protein_changes_nothing(tmp_path: Path) -> None:
    theirs, _ = golden("esm3")
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    turn = turn * torch.linalg.det(turn)
    known = theirs["tracks.structure_coords"].where(theirs["tracks.structure_coords"].abs() < 1e6, torch.nan)
    tokens, stack = tokens_of(theirs["tracks.ids"]), loaded(tmp_path)
    still, moved, mirrored = (
        with_tracks(stack, golden_tracks(coordinates=place)).run(tokens)
        for place in (known, known @ turn.T + 5.0, -known)
    )
    torch.testing.assert_close(moved, still, rtol=0, atol=1e-4)
    assert (mirrored - still).abs().max() > 0.1


def test_a_call_of_one_protein_with_coordinates_serves_many_rows(tmp_path: Path) -> None:
    theirs, _ = golden("esm3")
    stack = with_tracks(loaded(tmp_path), golden_tracks(slice(0, 1)))
    state, call = stack.embed(tokens_of(theirs["tracks.ids"][:1]))
    rows = torch.cat([state, state + 1.0, state.flip(1)])
    together = stack.resume(1, rows, call)
    for row in range(3):
        alone = stack.resume(1, rows[row : row + 1], call)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)


def test_special_tokens_of_the_structure_track_are_those_of_the_sequence() -> None:
    ids = torch.tensor([[0, 5, 31, 32, 6, 2, 1]])
    assert structure_tokens(ids, None).tolist() == [[4098, 4096, 4100, 4096, 4096, 4097, 4099]]
    codes = torch.tensor([[7, 8, 9, -1, 10, 11, 12]])
    assert structure_tokens(ids, codes).tolist() == [[4098, 8, 4100, 4096, 10, 4097, 4099]]


def test_random_weights_are_small_in_every_embedding() -> None:
    encoder = load_stack(ALL["esm3"], seed=0).module.encoder
    tables = [encoder.sequence_embed, encoder.structure_tokens_embed, encoder.residue_embed, *encoder.function_embed]
    assert all(float(table.weight.std()) == pytest.approx(0.02, rel=0.1) for table in tables)


def test_low_precision_stays_near_full_precision(tmp_path: Path) -> None:
    theirs, _ = golden("esm3")
    stack = with_tracks(loaded(tmp_path, dtype="bfloat16"), golden_tracks())
    state = stack.run(tokens_of(theirs["tracks.ids"]))
    assert state.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(state.float(), theirs["tracks.states"][-1], dim=-1).min() > 0.9


def test_of_a_repository_with_other_models_the_sequence_model_alone_is_fetched_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    torch.save({"codebook": torch.zeros(2)}, folder / "esm3_structure_encoder_v0.pth")
    (tmp_path / "config.json").write_text("{}")
    torch.save(golden("esm3")[1], folder / "esm3_sm_open_v1.pth")
    asked: list[Any] = []
    monkeypatch.setattr(
        weights, "snapshot_download", lambda name, allow_patterns: asked.append((name, allow_patterns)) or str(tmp_path)
    )
    from_hub = load_stack(replace(TINY, weights="hub", hub_id="a/b"), seed=0)
    from_folder = load_stack(replace(TINY, weights=str(tmp_path)), seed=0)
    assert asked == [("a/b", ["data/weights/esm3_sm_open_v1.pth"])]
    expected = golden("esm3")[1]
    for stack in (from_hub, from_folder):
        assert all(torch.equal(tensor, expected[name]) for name, tensor in stack.module.state_dict().items())
    assert weights_place(replace(TINY, weights=str(tmp_path))).name == "esm3_sm_open_v1.pth"


def test_a_checkpoint_of_esmc_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "esmc.pth"
    torch.save(golden("esmc")[1], file)
    with pytest.raises(InputError, match="do not fit esm3: missing: encoder"):
        load_stack(replace(TINY, weights=str(file)), seed=0)


def test_a_saved_folder_is_read_again(tmp_path: Path) -> None:
    stack = stack_of("esm3")
    stack.module.save_pretrained(tmp_path)
    read = load_stack(replace(ALL["esm3"], weights=str(tmp_path)), seed=0)
    tokens = example_for(stack).tokens
    assert torch.equal(read.run(tokens), stack.run(tokens))
