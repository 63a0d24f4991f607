"""DPLM-2 against its published implementation for every modality, and against the traps of its input.

``golden/dplm2.safetensors`` was written once with ``MultimodalDiffusionProteinLanguageModel.forward`` and
``EsmForDPLM2`` of ``bytedance/dplm`` (transformers 4.39.2): 3 layers, width 32, 4 heads, 8229 tokens, drawn weights.
Two proteins of 12 and 7 residues, each half padded with 1; `HIDDEN` residues and codes are masked. ``sequence`` and
``structure`` are one half alone, ``both`` is both with their masks, ``apart`` the same ids as rows of one modality,
``inverse_folding`` has no masks among the codes, ``folding`` none among the residues. ``states`` are what enters layer
1 and what leaves every layer; ``logits`` are those of ``columns``.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.analysis.batches import BatchedProteins
from plmdepth.errors import InputError
from plmdepth.language_models import weights
from plmdepth.language_models.families import dplm2
from plmdepth.language_models.families.dplm2 import BOTH, DPLM2, SEQUENCE, STRUCTURE, VOCABULARY, positions
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.spelling.spelling import Spelling, Tokens
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.erasure import Erasure
from plmdepth.metrics.gradients import Gradients
from plmdepth.metrics.layer_skip import LayerSkip
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Metric
from plmdepth.metrics.residual import Residual
from plmdepth.objectives.diffusion import Diffusion
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import Protein
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.golden.recipe import golden
from tests.recorder import Recorder
from tests.stacks import PROTEINS, stack_of

_SEQUENCE = DPLM2(name="dplm2", family="dplm2", objective="diffusion", **SIZE)
_BOTH = replace(_SEQUENCE, modality="both")
FAMILY = FamilyCase(
    miniatures={
        "dplm2": _SEQUENCE,
        "dplm2_structure": replace(_SEQUENCE, modality="structure"),
        "dplm2_both": _BOTH,
        "dplm2_apart": replace(_BOTH, cross_modality=False),
    },
    variants={"dplm2_both_structure": replace(_BOTH, measured="structure")},
    fast=("dplm2_both",),
    values=("attention.self.value", 1),
    # ESM-2's with 8,229 rows, a head of its own and the contact head, which is counted here too
    parameters={"dplm2_150m": 158_660_350, "dplm2_650m": 672_075_450, "dplm2_3b": 2_881_061_830},
)

GOLDEN, PUBLISHED = golden("dplm2")
PAD, MASK, MASK_STRUCT = 1, 32, 8228
HIDDEN = {"sequence": [[5, 9], [2]], "structure": [[3, 7, 8], [2]]}
GIVEN = (
    Protein("a", "MKTVRKERLKSI", structure_tokens=(0, 8191, 4242, 4095, 17, 91, 1000, 4095, 4095, 2500, 7000, 5)),
    Protein("b", "MAKEXUG", structure_tokens=(8000, 3, 4095, 12, 640, 77, 4096)),
)
TINY = DPLM2(
    name="dplm2_tiny",
    family="dplm2",
    objective="diffusion",
    n_layers=3,
    width=32,
    n_heads=4,
    max_length=62,
    weights="random",
)
CASES: dict[str, dict[str, Any]] = {
    "sequence": {},
    "structure": {"modality": "structure"},
    "both": {"modality": "both"},
    "apart": {"modality": "both", "cross_modality": False},
    "inverse_folding": {"modality": "both"},
    "folding": {"modality": "both", "measured": "structure"},
}
MODALITIES = ("dplm2", "dplm2_structure", "dplm2_both", "dplm2_apart")
each_modality = pytest.mark.parametrize("family", MODALITIES)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as DPLM-2 is published: PyTorch's format, with tables that follow from the configuration."""
    folder = tmp_path_factory.mktemp("dplm2")
    own = {"architectures": ["EsmForDPLM2"], "dplm_type": "dplm2_esm", "tie_word_embeddings": False}
    config = {**TINY.architecture_config().to_dict(), **own}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    frequencies = 1 / 10000 ** (torch.arange(0, 8, 2) / 8)
    rotary = {f"esm.encoder.layer.{k}.attention.self.rotary_embeddings.inv_freq": frequencies for k in range(3)}
    unused = {"esm.embeddings.position_embeddings.weight": torch.ones(66, 32)}
    torch.save({**PUBLISHED, **rotary, **unused}, folder / "pytorch_model.bin")
    return folder


def stack_from(folder: Path, **changes: Any) -> LayerStack:
    return load_stack(replace(TINY, weights=str(folder), **changes), seed=0)


def tokens_of(case: str) -> Tokens:
    ids = GOLDEN[f"{case}.ids"].long()
    return Tokens(ids, ids != PAD, torch.zeros_like(ids, dtype=torch.bool))


def compare(mine: Tensor, theirs: Tensor, tokens: Tokens) -> float:
    return float((mine - theirs)[tokens.attended].abs().max())


def logits_of(stack: LayerStack, tokens: Tokens) -> Tensor:
    with torch.no_grad():
        return stack.logits(stack.run(tokens))[..., GOLDEN["columns"].long()]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_states_and_logits_equal_the_published_implementations(
    published: Path, case: str, attention: str, certify: Certify
) -> None:
    stack, recorder, tokens = stack_from(published, attention=attention, **CASES[case]), Recorder(), tokens_of(case)
    with torch.no_grad():
        logits = stack.logits(stack.run(tokens, [recorder]))[..., GOLDEN["columns"].long()]
    theirs, kept = list(GOLDEN.get(f"{case}.states", [])), tokens.attended
    ours = recorder.states[: len(theirs)]
    states = ([state[kept] for state in each] for each in (ours, theirs))
    oracle = f"bytedance/dplm, {case}, {attention} (golden)"
    certify("dplm2", oracle, *states, logits[kept], GOLDEN[f"{case}.logits"][kept])


def test_the_hub_folder_is_read_in_the_same_way(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "snapshot_download", lambda hub_id, **_: str(published))
    stack = load_stack(replace(TINY, weights="hub", hub_id="a/b"), seed=0)
    assert compare(logits_of(stack, tokens_of("sequence")), GOLDEN["sequence.logits"], tokens_of("sequence")) < 1e-5


@pytest.mark.parametrize("trap", ["embedded once", "positions run on", "halves that see each other"])
def test_stepping_into_a_trap_of_the_input_gives_other_logits(
    published: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = "apart" if trap == "halves that see each other" else "both"
    if trap == "positions run on":
        monkeypatch.setattr(dplm2, "positions", lambda ids: torch.arange(ids.shape[1])[None])
    changes = {} if trap == "halves that see each other" else CASES[case]
    stack, tokens = stack_from(published, **{"modality": "both", **changes}), tokens_of(case)
    if trap == "embedded once":
        embeddings = stack.module.esm.embeddings
        monkeypatch.setattr(
            embeddings, "forward", lambda inputs_embeds=None, **given: _once(embeddings, inputs_embeds, given)
        )
    assert compare(logits_of(stack, tokens), GOLDEN[f"{case}.logits"], tokens) > 0.005  # parity is a thousandth of it


def _once(embeddings: Any, inputs_embeds: Tensor | None, given: dict[str, Tensor]) -> Tensor:
    if inputs_embeds is not None:
        return inputs_embeds
    return type(embeddings).forward(embeddings, **given)


def test_positions_begin_again_where_both_modalities_are_present_and_only_there() -> None:
    structure, residues = [33, 36, 37, 34], [0, 20, 15, 2]
    assert positions(torch.tensor([[*structure, *residues]])).tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    for alone in (structure + structure, residues + residues, [*residues, PAD, PAD]):
        assert positions(torch.tensor([alone])).tolist() == [list(range(len(alone)))]
    rows = torch.tensor([[*structure, *residues], [*residues, *[PAD] * 4]])  # one batch counts as a whole
    assert positions(rows).tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]


def test_halves_of_different_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="two halves of one length; 7 tokens are none"):
        positions(torch.tensor([[33, 36, 34, 0, 20, 15, 2]]))


def test_masks_are_counted_among_residues_over_both_halves_and_the_factor_is_squared(published: Path) -> None:
    stack, tokens = stack_from(published, modality="both"), tokens_of("both")
    with torch.no_grad():
        state, _ = stack.embed(tokens)
    share = (tokens.ids == MASK).sum(1) / tokens.attended.sum(1)
    assert share.tolist() == pytest.approx([2 / 28, 1 / 18])
    expected = (
        PUBLISHED["esm.embeddings.word_embeddings.weight"][tokens.ids] * ((0.88 / (1 - share)) ** 2)[:, None, None]
    )
    shown = tokens.attended & (tokens.ids != MASK)
    torch.testing.assert_close(state[shown], expected[shown], rtol=1e-5, atol=1e-7)
    assert state[tokens.ids == MASK].abs().max() == 0
    assert state[tokens.ids == MASK_STRUCT].abs().max() > 0.01


def test_alone_a_sequence_is_read_as_esm2_reads_it_but_for_the_square_of_the_factor(published: Path) -> None:
    example = Diffusion((0.3,)).present(GIVEN, SEQUENCE, seed=0)
    with torch.no_grad():
        one, call = stack_from(published).embed(example.tokens)
        _, same = stack_of("esm2").embed(example.tokens)
    factor = (0.88 / (1 - example.scored.sum(1) / example.tokens.attended.sum(1)))[:, None, None]
    words = PUBLISHED["esm.embeddings.word_embeddings.weight"][example.tokens.ids]
    shown = example.tokens.attended & ~example.scored
    torch.testing.assert_close(one[shown], (words * factor**2)[shown], rtol=1e-5, atol=1e-7)
    assert torch.equal(call.kwargs["attention_mask"], same.kwargs["attention_mask"])
    assert call.kwargs["position_embeddings"][0].shape[:2] == same.kwargs["position_embeddings"][0].shape[:2] == (1, 14)


def test_the_head_is_a_matrix_of_its_own(published: Path) -> None:
    state = stack_from(published).module.state_dict()
    assert torch.equal(state["lm_head.decoder.weight"], PUBLISHED["lm_head.decoder.weight"])
    assert torch.equal(
        state["esm.embeddings.word_embeddings.weight"], PUBLISHED["esm.embeddings.word_embeddings.weight"]
    )
    assert not TINY.architecture_config().tie_word_embeddings


def test_the_vocabulary_is_the_published_one() -> None:
    assert len(VOCABULARY) == 33 + 8192 + 4
    expected = {"<cls_struct>": 33, "<eos_struct>": 34, "<unk_struct>": 35, "0000": 36, "8191": 8227}
    assert {token: VOCABULARY.index(token) for token in expected} == expected
    assert VOCABULARY.index("<mask_struct>") == STRUCTURE.mask == MASK_STRUCT
    assert STRUCTURE.amino_acids.tolist() == list(range(36, 8228))


def hidden(spelling: Spelling, positions_of: list[list[int]]) -> Tokens:
    tokens = spelling.spell(GIVEN)
    targets = torch.zeros_like(tokens.residues)
    for row, chosen in enumerate(positions_of):
        targets[row, spelling.tokens_of_residues(tokens, row)[chosen]] = True
    return spelling.present(tokens, targets).tokens


@pytest.mark.parametrize(
    ("case", "spelling", "half"),
    [
        ("sequence", SEQUENCE, "sequence"),
        ("structure", STRUCTURE, "structure"),
        ("inverse_folding", BOTH["sequence"], "sequence"),
        ("folding", BOTH["structure"], "structure"),
    ],
)
def test_proteins_are_spelled_as_the_published_scripts_do(case: str, spelling: Spelling, half: str) -> None:
    tokens = hidden(spelling, HIDDEN[half])
    assert tokens.ids.tolist() == GOLDEN[f"{case}.ids"].tolist()
    assert tokens.attended.tolist() == (GOLDEN[f"{case}.ids"] != PAD).tolist()
    assert tokens.residues.sum(1).tolist() == [12, 7]
    assert spelling.n_tokens(12) == tokens.ids.shape[1]


def examples() -> dict[str, Example]:
    objective = Diffusion((0.5,))
    spellings = {"sequence": SEQUENCE, "structure": STRUCTURE, **{f"both, {half}": BOTH[half] for half in BOTH}}
    return {name: objective.present(PROTEINS, spelling, seed=3) for name, spelling in spellings.items()}


def test_the_same_residues_are_hidden_and_measured_whatever_is_read() -> None:
    found = examples()
    alone = found["sequence"]
    for example in found.values():
        assert example.targets == alone.targets
        assert example.tokens.residues.sum(1).tolist() == [len(protein) for protein in PROTEINS]
        assert (example.scored & ~example.tokens.residues).sum() == 0
        assert torch.equal(example.context, example.tokens.residues & ~example.scored)
        assert example.scored.sum(1).tolist() == alone.scored.sum(1).tolist()


@pytest.mark.parametrize("half", ["sequence", "structure"])
def test_a_half_beside_the_other_has_the_same_rows_and_labels_as_alone(half: str) -> None:
    found = examples()
    alone, beside = found[half], found[f"both, {half}"]
    for name in ("labels", "scored", "context"):
        first, second = getattr(beside, name).chunk(2, dim=1)
        mine, other = (second, first) if half == "sequence" else (first, second)
        assert torch.equal(mine, getattr(alone, name))
        assert name == "labels" or not other.any()
    shown = beside.tokens.ids.chunk(2, dim=1)[0 if half == "sequence" else 1]
    assert torch.isin(shown, torch.tensor([MASK, MASK_STRUCT])).sum() == 0


def test_one_sequence_is_taken_out_of_a_batch_without_the_padding_between_the_halves() -> None:
    both = examples()["both, sequence"]
    for row, protein in enumerate(PROTEINS):
        alone = Diffusion((0.5,)).present([protein], BOTH["sequence"], seed=3)
        taken = both.sequence(row)
        assert torch.equal(taken.tokens.ids, alone.tokens.ids)
        assert torch.equal(taken.tokens.residues, alone.tokens.residues)
        assert torch.equal(taken.scored, alone.scored)


def test_batches_count_the_tokens_of_both_halves() -> None:
    proteins = [Protein(str(k), "A" * 8, structure_tokens=(0,) * 8) for k in range(6)]
    batches = BatchedProteins(proteins, Diffusion(), BOTH["sequence"], tokens_per_batch=45, seed=0)
    assert [batch.example.tokens.ids.shape for batch in batches] == [(2, 20)] * 3


METRICS: dict[str, Callable[[], Metric]] = {
    "logit_lens": LogitLens,
    "residual": Residual,
    "gradients": Gradients,
    "layer_skip": lambda: LayerSkip(scope="targets"),
    "erasure": lambda: Erasure(max_positions=2, max_layers=2),
}


@each_modality
@pytest.mark.parametrize("name", METRICS)
def test_measurements_of_a_padded_batch_are_those_of_each_protein_alone(family: str, name: str) -> None:
    stack, objective = stack_of(family, n_layers=2), Diffusion((0.5,))
    batch = objective.present(PROTEINS, stack.spelling, seed=0)
    metric = METRICS[name]().prepared(stack, [batch])
    values = metric.measure(stack, batch).curves
    assert values.isfinite().any()
    for row, protein in enumerate(PROTEINS):
        alone = metric.measure(stack, objective.present([protein], stack.spelling, seed=0)).curves
        torch.testing.assert_close(values[row : row + 1], alone, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_codes_are_predicted_among_all_codes_and_residues_among_the_twenty() -> None:
    for family, ceiling in (("dplm2", 20), ("dplm2_structure", 8192), ("dplm2_both", 20)):
        stack = stack_of(family, n_layers=2)
        with torch.no_grad():
            for parameter in stack.module.lm_head.parameters():
                parameter.zero_()
        batch = Diffusion((0.5,)).present(PROTEINS, stack.spelling, seed=0)
        entropy = LogitLens().measure(stack, batch).curves[:, 3]
        torch.testing.assert_close(entropy.exp(), torch.full_like(entropy, ceiling), rtol=1e-5, atol=0)


def test_a_protein_without_structure_tokens_is_refused_in_one_line() -> None:
    for spelling in (STRUCTURE, *BOTH.values()):
        with pytest.raises(InputError, match=r"^b has no structure tokens, which the model reads$"):
            spelling.spell([GIVEN[0], Protein("b", "MK")])
    with pytest.raises(InputError, match=r"^the structure tokens of c are not all among the model's 8192$"):
        STRUCTURE.spell([Protein("c", "MK", structure_tokens=(0, 8192))])
    for spelling in (STRUCTURE, *BOTH.values()):
        with pytest.raises(InputError, match=r"letters alone are given; use model\.modality=sequence$"):
            spelling.encode(["MK"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measured": "structure"}, "only residues are read; use model.modality=both or structure$"),
        ({"cross_modality": False}, "keeps two halves apart; use model.modality=both$"),
        ({"modality": "structure", "cross_modality": False}, "use model.modality=both$"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)


def test_weights_of_esm2_are_refused(tmp_path: Path) -> None:
    stack_of("esm2", n_layers=3).module.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its vocab_size is 33, expected 8229"):
        stack_from(tmp_path)
