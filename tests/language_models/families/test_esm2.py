"""ESM-2 against its first implementation (fair-esm) and against the trap of its mask tokens."""

from typing import Any

import pytest
import torch
from torch import Tensor

from plmdepth.language_models.families.esm2 import ESM2, VOCABULARY
from plmdepth.language_models.layer_stack import LayerStack
from tests.certificate import Certify
from tests.family_case import SIZE, FamilyCase
from tests.recorder import watched
from tests.stacks import example_for, stack_of

FAMILY = FamilyCase(
    miniatures={"esm2": ESM2(name="esm2", family="esm2", objective="masked", **SIZE)},
    everywhere=("esm2",),
    values=("attention.self.value", 1),
    # with its contact head; the tied decoder counts once
    parameters={
        "esm2_8m": 7_512_474,
        "esm2_35m": 33_501_394,
        "esm2_150m": 148_140_154,
        "esm2_650m": 651_043_254,
        "esm2_3b": 2_839_005_634,
        "esm2_15b": 15_129_100_194,
    },
)

_RENAMED = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "LayerNorm",
}


@pytest.fixture
def esm() -> Any:
    """fair-esm. Not at import, since this file is imported for `FAMILY` too."""
    return pytest.importorskip("esm", reason="fair-esm is not installed (pip install 'plmdepth[oracle]')")


def fair_esm_twin(esm: Any, stack: LayerStack) -> torch.nn.Module:
    """Return fair-esm's model with the weights of a stack."""
    twin = esm.model.esm2.ESM2(num_layers=stack.n_layers, embed_dim=32, attention_heads=4).eval()
    ours = stack.module.state_dict()
    theirs: dict[str, Tensor] = {
        "embed_tokens.weight": ours["esm.embeddings.word_embeddings.weight"],
        "emb_layer_norm_after.weight": ours["esm.encoder.emb_layer_norm_after.weight"],
        "emb_layer_norm_after.bias": ours["esm.encoder.emb_layer_norm_after.bias"],
        "lm_head.weight": ours["lm_head.decoder.weight"],
        "lm_head.bias": ours["lm_head.bias"],
    }
    for part in ("dense", "layer_norm"):
        for kind in ("weight", "bias"):
            theirs[f"lm_head.{part}.{kind}"] = ours[f"lm_head.{part}.{kind}"]
    for layer in range(stack.n_layers):
        for their_name, our_name in _RENAMED.items():
            for kind in ("weight", "bias"):
                theirs[f"layers.{layer}.{their_name}.{kind}"] = ours[f"esm.encoder.layer.{layer}.{our_name}.{kind}"]
    missing, unexpected = twin.load_state_dict(theirs, strict=False)
    assert not unexpected
    assert all("contact_head" in key or "inv_freq" in key for key in missing)
    return twin


def test_states_and_logits_equal_fair_esm_in_a_padded_masked_batch(esm: Any, certify: Certify) -> None:
    stack = stack_of("esm2")
    tokens = example_for(stack).tokens
    with torch.no_grad():
        theirs = fair_esm_twin(esm, stack)(tokens.ids, repr_layers=list(range(stack.n_layers + 1)))
    ours = watched(stack).states
    kept = tokens.attended
    expected = [theirs["representations"][layer][kept] for layer in range(stack.n_layers)]
    logits = stack.logits(ours[-1])[kept], theirs["logits"][kept]
    certify("esm2", "fair-esm with the same weights", [state[kept] for state in ours[:-1]], expected, *logits)


def test_the_vocabulary_is_fair_esms(esm: Any) -> None:
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    assert tuple(alphabet.all_toks) == VOCABULARY


def test_mask_tokens_have_a_zero_embedding_and_rescale_all_others() -> None:
    stack = stack_of("esm2")
    example = example_for(stack)
    with torch.no_grad():
        state, _ = stack.embed(example.tokens)
    words = stack.module.esm.embeddings.word_embeddings.weight[example.tokens.ids]
    masked = example.scored.sum(1) / example.tokens.attended.sum(1)
    expected = words * (0.88 / (1 - masked))[:, None, None]
    shown = example.tokens.attended & ~example.scored
    torch.testing.assert_close(state[shown], expected[shown], rtol=1e-5, atol=1e-6)
    assert state[example.scored].abs().max() == 0
