"""What lies in a checkpoint beside the tensors of the model, and what it lacks: several families, in their layouts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AlbertModel,
    BertForSequenceClassification,
    BertModel,
    EsmForSequenceClassification,
    EsmModel,
    GPT2ForSequenceClassification,
    GPT2Model,
    GPTJModel,
    T5EncoderModel,
    XLNetModel,
)

from plmdepth.errors import InputError
from plmdepth.language_models.families import albert, gpt2, xlnet
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.residual import Residual
from plmdepth.proteins.protein import CANONICAL
from tests.language_models.families.test_gpt2 import write_tokenizer as write_gpt2
from tests.language_models.families.vocabularies import write_pieces
from tests.recorder import watched
from tests.stacks import ALL, example_for, stack_of

FAMILIES = ("esm2", "prot_bert", "antiberty", "prot_albert", "prot_xlnet", "protgpt2", "prot_t5", "esmc", "progen2")
each_family = pytest.mark.parametrize("family", FAMILIES)
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
NO_HEAD = "the weights hold no language-model head: what needs predictions is refused"


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt2, "VOCABULARY_ROWS", 300)


def saved(family: str, folder: Path, change: Change = lambda state: state) -> Path:
    """Write a miniature in Hugging Face's layout, with the tokenizer that some need, its tensors changed."""
    stack = stack_of(family)
    stack.module.save_pretrained(folder)
    special = {"prot_albert": albert.SPECIAL, "prot_xlnet": xlnet.SPECIAL}.get(family)
    if special is not None:
        write_pieces(folder, special, CANONICAL)
    if family == "protgpt2":
        write_gpt2(folder)
    file = folder / "model.safetensors"
    save_file({name: value.clone() for name, value in change(load_file(file)).items()}, file, metadata={"format": "pt"})
    return folder


def read(family: str, place: Path, **changes: Any) -> LayerStack:
    return load_stack(replace(ALL[family], weights=str(place), **changes), seed=0)


def states(stack: LayerStack) -> list[Tensor]:
    return watched(stack).states


def same_states(stack: LayerStack, family: str) -> bool:
    reference = replace(stack_of(family), spelling=stack.spelling)
    return all(torch.equal(a, b) for a, b in zip(states(stack), states(reference), strict=True))


@each_family
@pytest.mark.parametrize("prefix", ["model.", "module.", "_orig_mod.module."])
def test_a_prefix_that_everything_bears_goes(family: str, prefix: str, tmp_path: Path) -> None:
    saved(family, tmp_path, lambda state: {prefix + name: value for name, value in state.items()})
    stack = read(family, tmp_path)
    assert same_states(stack, family)
    assert stack.notes == ()
    assert stack.anatomy.head is not None


def test_a_prefix_of_some_tensors_is_refused(tmp_path: Path) -> None:
    saved("esm2", tmp_path, lambda s: {("module." if "layer.1." in k else "") + k: v for k, v in s.items()})
    with pytest.raises(InputError, match=r"missing: esm\.encoder\.layer\.1"):
        read("esm2", tmp_path)


@each_family
def test_constant_buffers_of_older_files_are_not_read(family: str, tmp_path: Path) -> None:
    buffers = {
        "h.0.attn.bias": torch.ones(1, 1, 8, 8),
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "embeddings.position_ids": torch.arange(8)[None],
        "encoder.layer.0.attention.self.rotary_embeddings.inv_freq": 1 / 10_000 ** (torch.arange(0, 8, 2) / 8),
    }
    stack = read(family, saved(family, tmp_path, lambda state: state | buffers))
    assert same_states(stack, family)
    assert stack.notes == ()


BASES = {
    "esm2": EsmModel,
    "prot_bert": BertModel,
    "antiberty": BertModel,
    "prot_albert": AlbertModel,
    "prot_xlnet": XLNetModel,
    "progen2": GPTJModel,
}


def trunk_of(stack: LayerStack) -> Any:
    return getattr(stack.module, stack.module.base_model_prefix)


@pytest.mark.parametrize("family", BASES)
@pytest.mark.parametrize("kind", ["base", "classifier"])
def test_without_its_head_a_model_is_measured_where_nothing_is_predicted(
    family: str, kind: str, tmp_path: Path
) -> None:
    prefix = stack_of(family).module.base_model_prefix + "."
    extra = {"pooler.dense.weight": torch.ones(2, 2)} if kind == "base" else {"classifier.weight": torch.ones(2, 32)}

    def without_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
        trunk = {name: value for name, value in state.items() if name.startswith(prefix)}
        if kind == "base":
            return {name.removeprefix(prefix): value for name, value in trunk.items()} | extra
        return trunk | extra

    stack = read(family, saved(family, tmp_path, without_head))
    assert same_states(stack, family)
    example = example_for(stack)
    with torch.no_grad():
        assert Residual().measure(stack, example).curves.isfinite().any()
        with pytest.raises(
            InputError, match=r"^this model predicts nothing by itself; choose a metric that needs no predictions$"
        ):
            LogitLens().measure(stack, example)
    assert stack.notes[0] == NO_HEAD
    assert "pooler" in stack.notes[1] if kind == "base" else "classifier" in stack.notes[1]


@pytest.mark.parametrize(
    ("family", "architecture"),
    [("esm2", EsmForSequenceClassification), ("prot_bert", BertForSequenceClassification), ("esm2", EsmModel)],
)
def test_what_transformers_saves_for_another_task_is_read(family: str, architecture: Any, tmp_path: Path) -> None:
    module = architecture(ALL[family].architecture_config())
    trunk = getattr(module, module.base_model_prefix, module)
    trunk.load_state_dict(trunk_of(stack_of(family)).state_dict(), strict=False)
    module.save_pretrained(tmp_path)
    stack = read(family, tmp_path)
    assert same_states(stack, family)
    assert stack.notes[0] == NO_HEAD
    assert len(stack.notes) == 2


@pytest.mark.parametrize("architecture", [GPT2Model, GPT2ForSequenceClassification])
def test_a_head_that_is_the_embedding_is_there_with_it(architecture: Any, tmp_path: Path) -> None:
    saved("protgpt2", tmp_path)
    module = architecture(stack_of("protgpt2").module.config)
    trunk = getattr(module, "transformer", module)
    trunk.load_state_dict(stack_of("protgpt2").module.transformer.state_dict())
    module.save_pretrained(tmp_path)
    stack = read("protgpt2", tmp_path)
    assert same_states(stack, "protgpt2")
    assert stack.anatomy.head is not None
    assert ("score" in stack.notes[0]) if architecture is not GPT2Model else stack.notes == ()


def test_an_encoder_alone_serves_the_encoder_and_says_so_to_the_decoder(tmp_path: Path) -> None:
    encoder = T5EncoderModel(stack_of("prot_t5_encoder").module.config)
    encoder.load_state_dict(stack_of("prot_t5_encoder").module.state_dict())
    encoder.save_pretrained(tmp_path)
    assert same_states(read("prot_t5_encoder", tmp_path), "prot_t5_encoder")
    with pytest.raises(InputError, match=r"missing: decoder.*it holds an encoder alone: use model\.part=encoder$"):
        read("prot_t5", tmp_path)


@pytest.mark.parametrize("family", ["esm2", "prot_bert", "esmc"])
def test_half_a_head_is_damage(family: str, tmp_path: Path) -> None:
    head = {"esm2": "lm_head.dense.bias", "prot_bert": "cls.predictions.transform.dense.bias"}
    gone = head.get(family, "lm_head.dense.bias")
    saved(family, tmp_path, lambda state: {name: value for name, value in state.items() if name != gone})
    with pytest.raises(InputError, match=f"missing: {gone}$"):
        read(family, tmp_path)


@each_family
def test_an_unknown_tensor_inside_the_layers_is_refused(family: str, tmp_path: Path) -> None:
    def with_gate(state: dict[str, Tensor]) -> dict[str, Tensor]:
        place = next(name for name in sorted(state) if ("weight" in name and "layer" in name) or ".h.0." in name)
        return state | {f"{place.rpartition('.')[0]}.gate": torch.ones(1)}

    with pytest.raises(InputError, match=r"unknown: .*gate"):
        read(family, saved(family, tmp_path, with_gate))


@each_family
def test_weights_that_are_no_numbers_are_named(family: str, tmp_path: Path) -> None:
    name = next(
        name for name, value in stack_of(family).module.named_parameters() if value.ndim == 2 and "weight" in name
    )

    def damaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
        key = name if name in state else next(key for key in state if state[key].ndim == 2)
        state[key][0, 1] = float("nan")
        return state

    with pytest.raises(InputError, match=r"hold NaN or infinity: \S+[^\n]*$") as error:
        read(family, saved(family, tmp_path, damaged))
    assert "float32" not in str(error.value)


def test_what_overflows_in_half_precision_says_so(tmp_path: Path) -> None:
    saved("esm2", tmp_path, lambda state: state | {"lm_head.bias": state["lm_head.bias"] + 1e6})
    with pytest.raises(InputError, match=r"NaN or infinity: lm_head\.bias.*; try model\.dtype=float32$"):
        read("esm2", tmp_path, dtype="float16")


def write_adapter(folder: Path, base: str = "facebook/esm2_t6_8M_UR50D") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    save_file({"base_model.model.esm.x.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")


@each_family
def test_an_adapter_beside_the_weights_is_refused(family: str, tmp_path: Path) -> None:
    write_adapter(saved(family, tmp_path))
    with pytest.raises(InputError, match=r"holds an adapter \(adapter_config\.json\) beside the weights.*merge_and_un"):
        read(family, tmp_path)


@each_family
def test_an_adapter_alone_is_named_with_its_base(family: str, tmp_path: Path) -> None:
    write_adapter(tmp_path)
    with pytest.raises(InputError, match=r"is an adapter of facebook/esm2_t6_8M_UR50D, without the weights.*merge_and"):
        read(family, tmp_path)
    with pytest.raises(InputError, match="is an adapter of facebook"):
        read(family, tmp_path / "adapter_model.safetensors")


def test_an_adapter_inside_the_weights_is_refused(tmp_path: Path) -> None:
    lora = {"esm.encoder.layer.0.attention.self.query.lora_A.default.weight": torch.ones(2, 32)}
    saved("esm2", tmp_path, lambda state: {f"base_model.model.{k}": v for k, v in (state | lora).items()})
    with pytest.raises(InputError, match="hold an adapter that is not merged"):
        read("esm2", tmp_path)


@each_family
def test_a_checkpoint_of_lightning_is_named(family: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2"}, tmp_path / "last.ckpt")
    (tmp_path / "config.json").write_text(json.dumps(ALL[family].architecture_config().to_dict(), default=str))
    with pytest.raises(InputError, match=r"last\.ckpt is a checkpoint of PyTorch Lightning.*save_pretrained"):
        read(family, tmp_path)


FIXED = ("esm2", "dplm", "dplm2", "saprot", "prot_bert", "antiberty", "sapiens", "progen2", "esmc")


def ordered(family: str) -> list[str]:
    ids = ALL[family].token_ids
    names = {index: token for token, index in ids.items()}
    return [names.get(index, f"<{index}>") for index in range(max(names) + 1)]


def write_vocabulary(folder: Path, tokens: list[str], name: str) -> None:
    table = {token: index for index, token in enumerate(tokens)}
    content: Any = {"vocab.json": table, "tokenizer.json": {"model": {"vocab": table}}}.get(name)
    (folder / name).write_text("\n".join(tokens) if content is None else json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("family", FIXED)
@pytest.mark.parametrize("name", ["vocab.txt", "vocab.json", "tokenizer.json"])
def test_a_vocabulary_of_another_order_is_refused(family: str, name: str, tmp_path: Path) -> None:
    tokens = ordered(family)
    write_vocabulary(saved(family, tmp_path), tokens, name)
    assert same_states(read(family, tmp_path), family)
    last = len(tokens) - 2
    tokens[last], tokens[last - 1] = tokens[last - 1], tokens[last]
    write_vocabulary(tmp_path, tokens, name)
    with pytest.raises(InputError, match=rf"{name} is not the vocabulary of .*moved, .*; these weights read other"):
        read(family, tmp_path)


def test_a_vocabulary_that_lacks_residues_is_refused(tmp_path: Path) -> None:
    write_vocabulary(saved("esm2", tmp_path), ["<cls>", "<pad>"], "vocab.txt")
    with pytest.raises(InputError, match=r"lacks, or has moved, L, A, G and 17 more"):
        read("esm2", tmp_path)


def test_the_english_twin_is_held_to_the_letters_that_it_reads() -> None:
    model = replace(ALL["prot_bert"], vocabulary="english")
    assert model.token_ids["a"] == 1037
    assert model.token_ids["[MASK]"] == 103
