"""T5 and its relatives: vocabularies, what the decoder reads and predicts, and the traps of two stacks.

The oracle of states and logits is transformers' own T5; it shifts the text of the decoder by itself, from labels.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf
from torch import Tensor
from transformers import T5Tokenizer
from transformers.utils import sentencepiece_model_pb2_new as sentencepiece

from plmdepth.commands.objects import build
from plmdepth.controls.dead_layers import DeadLayers
from plmdepth.errors import InputError
from plmdepth.interventions.descent import Rows, clean_descent
from plmdepth.interventions.skipping import silenced
from plmdepth.language_models.families.prot_t5 import Ankh, ProstT5, ProtT5
from plmdepth.language_models.families.t5 import T5
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.objectives.masked import Masked
from plmdepth.objectives.objective import Example
from plmdepth.proteins.protein import CANONICAL, Protein
from tests.family_case import SIZE, FamilyCase
from tests.recorder import Recorder, watched
from tests.stacks import ALL, PROTEINS, example_for, stack_of

_T5: dict[str, Any] = {"objective": "masked", "n_decoder_layers": 6, "key_width": 6, "mlp_width": 48, **SIZE}
"""Heads are narrower than the width over their number."""
_PROT_T5 = ProtT5(name="prot_t5", family="prot_t5", **_T5)
_ANKH: dict[str, Any] = {
    "n_layers": 3,
    "n_decoder_layers": 4,
    "key_width": 3,
    "mlp_width": 16,
    "mlp": "gated-gelu",
    "position_buckets": 16,
    "scaled_head": False,
}
FAMILY = FamilyCase(
    miniatures={
        "prot_t5": _PROT_T5,
        "prot_t5_encoder": replace(_PROT_T5, name="prot_t5_encoder", family="prot_t5_encoder", part="encoder"),
        "ankh": Ankh(name="ankh", family="ankh", **{**_T5, **_ANKH}),
    },
    variants={"prot_t5_smooth": replace(_PROT_T5, mlp="gated-gelu")},
    fast=("prot_t5",),
    headless=("prot_t5_encoder",),
    in_double=("ankh",),  # its head is not scaled
    values=("SelfAttention.v", 1),
    parameters={
        # both stacks of T5; ProstT5 has 22 more tokens than ProtT5, each a row of 1024
        "prot_t5_xl_u50": 2_818_830_336,
        "prot_t5_xl_bfd": 2_818_830_336,
        "prost_t5": 2_818_830_336 + 22 * 1024,
        "t5_3b": 2_851_598_336,
        "t5_3b_text": 1_240_909_824,  # the encoder alone
        # no published count; their heads of 144 rows are counted as tied here, as transformers ties them
        "ankh_base": 736_343_040,
        "ankh_large": 1_878_483_968,
    },
)

CONF = Path(__file__).parents[3] / "conf"
DECODERS = ("prot_t5", "ankh")
# The vocabulary of Rostlab/prot_t5_xl_uniref50, as printed in issue 42 of ProtTrans
PROT_T5_PIECES = ["<pad>", "</s>", "<unk>", *("\u2581" + letter for letter in "ALGVSREDTIPKFQNYMHWCXBOUZ")]
# added_tokens.json of Rostlab/ProstT5_fp16
PROST_T5_ADDED = {"<AA2fold>": 149, "<fold2AA>": 148, "a": 128, "l": 129, "y": 143, "c": 147}


def model_of(family: type[T5], **changes: Any) -> T5:
    return family(**{**asdict(ALL["prot_t5"]), **changes})


def presented(family: type[T5], sequences: list[str], hidden: list[list[int]], **changes: Any) -> Example:
    """Return proteins with residues hidden that are given, as the objective would."""

    class Given(Masked):
        def targets(self, sequence: str, seed: int) -> list[int]:
            return hidden[sequences.index(sequence)]

    proteins = [Protein(sequence, sequence) for sequence in sequences]
    return Given().present(proteins, model_of(family, **changes).spelling, seed=0)


def test_prot_t5_is_spelled_as_its_tokenizer_does() -> None:
    tokenizer = T5Tokenizer(vocab=[*((piece, -1.0) for piece in PROT_T5_PIECES), *_sentinels(100)], extra_ids=100)
    sequences = ["MKTVXACDEFGHIKLMNPQRSTVWY", "WC"]
    expected = tokenizer([" ".join(sequence) for sequence in sequences], padding=True)
    tokens = model_of(ProtT5, part="encoder").spelling.encode(sequences)
    assert tokens.ids.tolist() == expected["input_ids"]
    assert tokens.attended.long().tolist() == expected["attention_mask"]
    assert model_of(ProtT5).spelling.mask == tokenizer.convert_tokens_to_ids("<extra_id_0>") == 127


def _sentinels(number: int) -> list[tuple[str, float]]:
    return [(f"<extra_id_{index}>", 0.0) for index in reversed(range(number))]


@pytest.mark.parametrize("letter", "UZOB")
def test_rare_residues_are_read_as_x(letter: str) -> None:
    spelling = model_of(ProtT5).spelling
    assert spelling.encode([letter]).ids.tolist() == spelling.encode(["X"]).ids.tolist() == [[23, 1]]


def test_prost_t5_reads_its_prefix_and_has_room_for_its_structure_letters() -> None:
    encoder = model_of(ProstT5, part="encoder").spelling
    assert encoder.encode(["MK"]).ids.tolist() == [[PROST_T5_ADDED["<AA2fold>"], 19, 14, 1]]
    assert encoder.encode(["MK"]).residues.tolist() == [[False, True, True, False]]
    assert ProstT5.vocabulary.rows == 1 + max(PROST_T5_ADDED.values())
    assert model_of(ProstT5).spelling.prefix == ()


def test_t5_spells_letters_as_words_and_y_as_a_piece() -> None:
    assert model_of(T5, part="encoder").spelling.encode(["AYX"]).ids.tolist() == [[71, 476, 4, 1]]


def test_a_whole_decoder_reads_the_true_protein_one_behind() -> None:
    example = presented(ProtT5, ["MKTV", "AC"], [[1], [0]])
    source = example.tokens.source
    assert source is not None
    assert source.ids.tolist() == [[19, 127, 11, 6, 1], [127, 22, 1, 0, 0]]
    assert example.tokens.ids.tolist() == [[0, 19, 14, 11, 6], [0, 3, 22, 0, 0]]
    assert example.tokens.attended.tolist() == source.attended.tolist()
    assert example.tokens.residues.sum(1).tolist() == [4, 2]
    assert not example.tokens.residues[:, 0].any()  # the start token is no residue
    assert example.labels[example.scored].tolist() == [14, 3]
    assert example.scored.nonzero().tolist() == [[0, 1], [1, 0]]


def test_a_decoder_of_what_is_hidden_writes_sentinels_and_residues_by_turns() -> None:
    example = presented(Ankh, ["MKTV", "AC"], [[1, 2], [0]])
    source = example.tokens.source
    assert source is not None
    first, second = 142, 141  # <extra_id_0>, <extra_id_1>
    assert source.ids.tolist() == [[19, first, second, 6, 1], [first, 22, 1, 0, 0]]
    assert example.tokens.ids.tolist() == [[0, first, 14, second, 11], [0, first, 3, 0, 0]]
    assert example.tokens.attended.sum(1).tolist() == [5, 3]
    assert example.labels[example.scored].tolist() == [14, 11, 3]
    assert example.scored.nonzero().tolist() == [[0, 1], [0, 3], [1, 1]]
    assert example.tokens.residues.nonzero().tolist() == [[0, 2], [0, 4], [1, 2]]


def test_a_protein_with_nothing_to_hide_has_no_target_and_still_a_row() -> None:
    example = presented(Ankh, ["XXX", "MK"], [[], [1]])
    assert example.tokens.ids.tolist() == [[0, 0, 0], [0, 142, 14]]
    assert example.tokens.attended.tolist() == [[True, False, False], [True] * 3]
    assert example.sequence(0).tokens.ids.tolist() == [[0]]


def test_an_encoder_reads_sentinels_in_order_where_the_family_has_them() -> None:
    ids = presented(Ankh, ["MKTV"], [[1, 3]], part="encoder").tokens.ids
    assert ids.tolist() == [[19, 142, 11, 141, 1]]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_more_hidden_residues_than_sentinels_are_refused(part: str) -> None:
    with pytest.raises(InputError, match=r"^116 residues of a protein are hidden, and the model has 115 tokens"):
        presented(Ankh, ["A" * 116], [list(range(116))], part=part)


@pytest.mark.parametrize("family", DECODERS)
def test_one_sequence_alone_keeps_what_its_encoder_reads(family: str) -> None:
    example = example_for(stack_of(family))
    alone = example.sequence(1).tokens
    assert alone.source is not None
    assert alone.source.ids.shape[1] == len(PROTEINS[1]) + 1
    assert bool(alone.attended.all())
    assert alone.to("meta").source.ids.device.type == "meta"  # type: ignore[union-attr]


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_logits_are_those_of_the_models_own_training_path(family: str, attention: str) -> None:
    stack = stack_of(family, attention=attention)
    example = example_for(stack)
    tokens, source = example.tokens, example.tokens.source
    assert source is not None
    text = example.labels.masked_fill(~tokens.attended, 0)
    with torch.no_grad():
        theirs = stack.module(input_ids=source.ids, attention_mask=source.attended.long(), labels=text).logits
        ours = stack.logits(stack.run(tokens))
    torch.testing.assert_close(ours[tokens.attended], theirs[tokens.attended], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_no_row_sees_what_it_predicts(family: str) -> None:
    stack, sequence = stack_of(family), PROTEINS[1].sequence
    example = Masked(0.3).present([PROTEINS[1]], stack.spelling, seed=0)
    for position, row in zip(example.targets[0], example.scored[0].nonzero()[:, 0].tolist(), strict=True):
        other = next(letter for letter in CANONICAL if letter != sequence[position])
        changed = sequence[:position] + other + sequence[position + 1 :]
        expected, found = (_logits(stack, text, example.targets[0]) for text in (sequence, changed))
        torch.testing.assert_close(found[: row + 1], expected[: row + 1], rtol=0, atol=1e-6)
        assert (found[row + 1] - expected[row + 1]).abs().max() > 1e-3  # what is written is shown to later rows


def _logits(stack: LayerStack, sequence: str, targets: tuple[int, ...]) -> Tensor:
    class Given(Masked):
        def targets(self, sequence: str, seed: int) -> list[int]:
            return list(targets)

    example = Given().present([Protein("", sequence)], stack.spelling, seed=0)
    with torch.no_grad():
        return stack.logits(stack.run(example.tokens))[0]


@pytest.mark.parametrize("family", DECODERS)
def test_predictions_read_the_encoder(family: str) -> None:
    stack = stack_of(family)
    example = example_for(stack)
    source = example.tokens.source
    assert source is not None
    blank = replace(example.tokens, source=replace(source, ids=torch.full_like(source.ids, 3)))
    with torch.no_grad():
        given, without = (stack.logits(stack.run(tokens)) for tokens in (example.tokens, blank))
    assert (given - without).abs().max() > 0.1


@pytest.mark.parametrize("family", ["prot_t5", "prot_t5_encoder", "ankh"])
def test_later_layers_receive_the_position_bias_of_the_first(family: str) -> None:
    stack = stack_of(family)
    tokens = example_for(stack).tokens
    with torch.no_grad():
        _, call = stack.embed(tokens)
    n_tokens = tokens.ids.shape[1]
    assert call.kwargs["position_bias"].shape == (1, 4, n_tokens, n_tokens)
    assert call.kwargs["position_bias"].abs().max() > 0.1
    forgetful = replace(stack, anatomy=replace(stack.anatomy, handed_on=None))
    right, wrong = watched(stack).states, watched(forgetful).states
    torch.testing.assert_close(wrong[1], right[1], rtol=0, atol=1e-6)
    assert (wrong[2] - right[2]).abs().max() > 0.1


def test_a_stack_without_its_first_layer_keeps_the_bias() -> None:
    stack = stack_of("prot_t5")
    tokens = example_for(stack).tokens
    with torch.no_grad():
        first, call = stack.embed(tokens)
        skipped = stack.resume(2, first, call)
        DeadLayers([1]).stack(stack)
        torch.testing.assert_close(stack.run(tokens), skipped, rtol=0, atol=1e-5)


def test_a_tied_head_reads_scaled_states_and_an_untied_one_does_not() -> None:
    for family, scale in (("prot_t5", 32**-0.5), ("ankh", 1.0)):
        stack = stack_of(family)
        state = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            normed = stack.anatomy.norm(state)
            torch.testing.assert_close(stack.logits(state), stack.module.lm_head(normed * scale))


def test_attention_is_the_sum_of_both_and_the_mlp_reads_it() -> None:
    stack = stack_of("prot_t5")
    read: list[Tensor] = []
    for block in stack.anatomy.layers:
        block.layer[2].layer_norm.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    for view, stream in zip(watched(stack).views, read, strict=True):
        torch.testing.assert_close(view.mlp_input, stream, rtol=0, atol=1e-5)


def test_silenced_attention_leaves_the_stream_to_the_mlp() -> None:
    stack = stack_of("prot_t5")
    descent = clean_descent(stack, example_for(stack).sequence(1).tokens)
    everywhere = torch.ones(descent.states[0].shape[1], dtype=torch.bool)
    read: list[Tensor] = []
    handle = stack.anatomy.layers[1].layer[2].layer_norm.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    with torch.no_grad(), silenced(stack, 2, "attention", everywhere):
        stack.apply_layer(2, descent.states[1], descent.call)
    handle.remove()
    assert torch.equal(read[0], descent.states[1])


def test_a_dead_layer_of_a_decoder_changes_nothing() -> None:
    stack = DeadLayers([3]).stack(stack_of("prot_t5"))
    states = watched(stack).states
    assert torch.equal(states[3], states[2])
    assert not torch.equal(states[4], states[3])


@pytest.mark.parametrize("family", ["prot_t5", "prot_t5_encoder", "ankh"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_one_sequences_arguments_serve_any_number_of_branches(family: str, attention: str) -> None:
    stack = stack_of(family, attention=attention)
    descent = clean_descent(stack, example_for(stack).sequence(0).tokens)
    branches = descent.states[1] + torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(0))
    rows = Rows(stack, descent.call)
    for layer in (1, 2, stack.n_layers):
        with torch.no_grad():
            together = rows.apply(layer, branches)
            alone = torch.cat([rows.apply(layer, branch[None]) for branch in branches])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


METRICS = [
    path.stem
    for path in sorted(CONF.glob("metric/*.yaml"))
    if hasattr(get_class(OmegaConf.load(path)["_target_"]), "measure")  # others read records
]


@pytest.mark.parametrize("name", METRICS)
def test_an_encoder_has_only_the_metric_that_needs_no_prediction(name: str) -> None:
    stack = stack_of("prot_t5_encoder")
    example = example_for(stack)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        metric = build(compose("analyze", overrides=[f"metric={name}"]), "metric").prepared(stack, [example])
    if not metric.needs_head:
        assert metric.measure(stack, example).curves.isfinite().any()
        return
    with pytest.raises(InputError, match="predicts nothing by itself; choose a metric that needs no predictions"):
        metric.measure(stack, example)


@pytest.mark.parametrize("family", ["prot_t5", "ankh"])
def test_a_checkpoint_of_both_parts_gives_the_encoder_alone(family: str, tmp_path: Path) -> None:
    whole = stack_of(family)
    save(whole, tmp_path)
    encoder = load_stack(replace(ALL[family], weights=str(tmp_path), part="encoder"), seed=0)
    assert not hasattr(encoder.module, "decoder")
    source = example_for(whole).tokens.source
    assert source is not None
    recorder = Recorder()
    with torch.no_grad():
        expected = whole.module.encoder(input_ids=source.ids, attention_mask=source.attended.long()).last_hidden_state
        found = encoder.anatomy.norm(encoder.run(source, [recorder]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def save(stack: LayerStack, folder: Path, **config: Any) -> None:
    """Write a checkpoint as published: transformers drops a tied head, and says that it is tied."""
    stack.module.save_pretrained(folder)
    content = json.loads((folder / "config.json").read_text())
    for name in ("scale_decoder_outputs", "tie_word_embeddings"):
        content.pop(name, None)
    tied = {} if stack.module.config.scale_decoder_outputs else {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(content | tied | config))


def test_a_head_of_its_own_is_kept_and_not_scaled(tmp_path: Path) -> None:
    stack = stack_of("ankh")
    head = torch.nn.Parameter(torch.randn(144, 32, generator=torch.Generator().manual_seed(5)))
    stack.module.lm_head.weight = head
    save(stack, tmp_path)
    loaded = load_stack(replace(ALL["ankh"], weights=str(tmp_path)), seed=0)
    assert torch.equal(loaded.module.lm_head.weight, head)
    assert not torch.equal(loaded.module.shared.weight, head)
    assert loaded.anatomy.head is loaded.module.lm_head


def test_a_tied_checkpoint_is_read_scaled(tmp_path: Path) -> None:
    stack = stack_of("prot_t5")
    save(stack, tmp_path)
    loaded = load_stack(replace(ALL["prot_t5"], weights=str(tmp_path)), seed=0)
    tokens = example_for(stack).tokens
    with torch.no_grad():
        assert torch.equal(loaded.logits(loaded.run(tokens)), stack.logits(stack.run(tokens)))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_with_its_layers_on_disk_the_bias_is_still_handed_on(part: str, tmp_path: Path) -> None:
    stack = stack_of("prot_t5")
    save(stack, tmp_path)
    model = replace(ALL["prot_t5"], weights=str(tmp_path), part=part)
    in_memory, on_disk = (load_stack(replace(model, placement=place), seed=0) for place in ("memory", "disk"))
    tokens = example_for(in_memory).tokens
    with torch.no_grad():
        assert torch.equal(on_disk.run(tokens), in_memory.run(tokens))


def test_another_mlp_is_refused(tmp_path: Path) -> None:
    save(stack_of("prot_t5"), tmp_path)
    with pytest.raises(InputError, match="its feed_forward_proj is relu, expected gated-gelu"):
        load_stack(replace(ALL["prot_t5"], weights=str(tmp_path), mlp="gated-gelu"), seed=0)


def write_tokenizer(folder: Path, pieces: Mapping[str, int]) -> None:
    vocabulary = [[piece, 0.0] for piece in sorted(pieces, key=lambda piece: pieces[piece])]
    content = {"model": {"type": "Unigram", "vocab": vocabulary}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def write_sentencepiece(folder: Path, pieces: list[str]) -> None:
    model = sentencepiece.ModelProto()
    for index, piece in enumerate(pieces):
        model.pieces.add(piece=piece, score=-float(index), type=1)
    model.trainer_spec.model_prefix = "spiece"
    model.normalizer_spec.add_dummy_prefix = True
    (folder / "spiece.model").write_bytes(model.SerializeToString())


def test_the_published_files_give_the_ids_that_are_written_down(tmp_path: Path) -> None:
    model = model_of(ProtT5)
    write_sentencepiece(tmp_path, PROT_T5_PIECES)
    assert model.published_spelling(tmp_path) == model.spelling


def test_a_checkpoints_own_vocabulary_comes_first(tmp_path: Path) -> None:
    order = ["<extra_id_0>", "</s>", "<pad>", *CANONICAL, "X"]
    write_tokenizer(tmp_path, {piece: index for index, piece in enumerate(order)})
    spelling = model_of(ProtT5).published_spelling(tmp_path)
    assert (spelling.mask, spelling.suffix, spelling.pad) == (0, (1,), 2)
    assert spelling.amino_acids.tolist() == list(range(3, 23))
    assert load_stack(replace(ALL["prot_t5"], weights=str(_with_weights(tmp_path))), seed=0).spelling == spelling


def _with_weights(folder: Path) -> Path:
    save(stack_of("prot_t5"), folder)
    return folder


@pytest.mark.parametrize(("name", "content"), [("tokenizer.json", b"{}"), ("spiece.model", b"\x0a\x7f")])
def test_a_damaged_vocabulary_is_said_to_be(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*damaged"):
        model_of(ProtT5).published_spelling(tmp_path)


def test_a_miniature_is_narrow_throughout() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = build(compose("analyze", overrides=["model=ankh", "model.miniature=true"]), "model").resolved()
    stack = load_stack(model, seed=0)
    assert (stack.n_layers, stack.width) == (4, 32)
    assert stack.n_parameters < 200_000
