"""fair-esm's files, written in its own format from models of its own, against its own loader and forward pass."""

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from plmdepth.errors import InputError
from plmdepth.language_models.checkpoints.fair_esm import from_fair_esm, without_mask_word
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.layer_stack import LayerStack
from plmdepth.language_models.weights import load_stack, weights_digest
from tests.certificate import Certify
from tests.recorder import watched
from tests.stacks import ALL, example_for

esm = pytest.importorskip("esm", reason="fair-esm is not installed (pip install 'plmdepth[oracle]')")

FAMILIES = ("esm2", "esm1b", "esm1v")
CHECKPOINTS = {"esm2": "esm2_t6_8M_UR50D", "esm1b": "esm1b_t33_650M_UR50S", "esm1v": "esm1v_t33_650M_UR90S_1"}
MASK = 32


def drawn(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's tensors with every parameter drawn anew, the norms' too."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            centre = 1.0 if parameter.ndim == 1 else 0.0
            parameter.copy_(centre + torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.state_dict()


def content_of(family: str, layers: int = 6, width: int = 32) -> dict[str, Any]:
    """Return what fair-esm's file of a small model holds: its weights as named in training, and its options."""
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    if family == "esm2":
        module = esm.model.esm2.ESM2(num_layers=layers, embed_dim=width, attention_heads=4, alphabet=alphabet)
        options = Namespace(
            encoder_layers=layers, encoder_embed_dim=width, encoder_attention_heads=4, token_dropout=True
        )
        rest = {"cfg": {"model": options}}
    else:
        options = Namespace(arch="roberta_large", max_positions=1024, token_dropout=True)
        sizes = {"layers": layers, "embed_dim": width, "ffn_embed_dim": 4 * width, "attention_heads": 4}
        plain = Namespace(**vars(options), **sizes, emb_layer_norm_before=family == "esm1b")
        module = esm.model.esm1.ProteinBertModel(plain, alphabet)
        rest = {"args": Namespace(**vars(options), **{f"encoder_{name}": size for name, size in sizes.items()})}
    return {"model": {_in_training(name): tensor for name, tensor in drawn(module).items()}, **rest}


def _in_training(name: str) -> str:
    if name.startswith("contact_head"):
        return name
    return f"encoder.{name}" if name.startswith("lm_head") else f"encoder.sentence_encoder.{name}"


def split(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the two files that fair-esm publishes: the model, and the regression of its contact head."""
    regression = {name: tensor for name, tensor in content["model"].items() if "contact_head" in name}
    kept = {name: tensor for name, tensor in content["model"].items() if name not in regression}
    return {**content, "model": kept}, {"model": regression}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small model as fair-esm publishes it, without the file of its contact head."""

    def write(family: str, **sizes: int) -> Path:
        path = tmp_path / f"{family}.pt"
        torch.save(split(content_of(family, **sizes))[0], path)
        return path

    return write


def loaded(family: str, path: Path, **changes: Any) -> LayerStack:
    return load_stack(replace(ALL[family], weights=str(path), **changes), seed=0)


def theirs_of(family: str) -> Any:
    """Return the model as fair-esm's own loader makes it of the same content."""
    module, regression = split(content_of(family))
    return esm.pretrained.load_model_and_alphabet_core(CHECKPOINTS[family], module, regression)[0].eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_logits_of_a_file_equal_fair_esm_in_a_padded_masked_batch(
    family: str, written: Callable[..., Path], certify: Certify
) -> None:
    stack = loaded(family, written(family))
    tokens = example_for(stack).tokens
    kept = tokens.attended
    assert (tokens.ids == MASK).any()
    assert not kept.all()
    with torch.no_grad():
        theirs = theirs_of(family)(tokens.ids, repr_layers=list(range(stack.n_layers + 1)))
    ours = watched(stack).states
    states = [*ours[:-1], stack.anatomy.norm(ours[-1])]  # fair-esm's last state is after the norm
    expected = [theirs["representations"][layer][kept] for layer in range(stack.n_layers + 1)]
    logits = stack.logits(ours[-1])[kept], theirs["logits"][kept]
    certify(family, "fair-esm, through its .pt file", [state[kept] for state in states], expected, *logits)
    assert theirs["logits"][kept].std() > 0.1


@pytest.mark.parametrize("prefix", ["", "encoder.", "sentence_encoder.", "encoder.sentence_encoder."])
def test_the_prefixes_of_training_are_left_out(prefix: str) -> None:
    theirs = {
        f"{prefix}layers.11.self_attn.q_proj.bias": torch.ones(2),
        f"{prefix}lm_head.layer_norm.bias": torch.ones(1),
    }
    assert set(from_fair_esm(theirs)) == {"esm.encoder.layer.11.attention.self.query.bias", "lm_head.layer_norm.bias"}


def test_the_decoder_is_taken_where_the_embedding_differs_as_fair_esm_loads_it_last() -> None:
    state = from_fair_esm({"embed_tokens.weight": torch.zeros(2), "lm_head.weight": torch.ones(2)})
    assert set(state) == {"esm.embeddings.word_embeddings.weight", "lm_head.decoder.weight"}
    assert all(tensor.tolist() == [1, 1] for tensor in state.values())


def test_the_word_of_the_mask_is_zero_and_the_file_is_left_as_it_was() -> None:
    words = torch.ones(33, 2)
    one = {"encoder.sentence_encoder.embed_tokens.weight": words, "encoder.lm_head.weight": words}
    for name, tensor in without_mask_word(one, MASK).items():
        assert tensor[MASK].tolist() == [0, 0], name
        assert tensor.sum() == 64
    two = one | {"encoder.lm_head.weight": words.clone()}
    changed = without_mask_word(two, MASK)
    assert changed["encoder.sentence_encoder.embed_tokens.weight"][MASK].tolist() == [0, 0]
    assert changed["encoder.lm_head.weight"][MASK].tolist() == [1, 1]
    assert words.sum() == 66


def _file_for(family: str) -> str:
    return {"esm2": "esm1v", "esm1b": "esm1v", "esm1v": "esm1b"}[family]


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("esm2", "unknown: esm.embeddings.position_embeddings.weight"),
        ("esm1b", "missing: esm.embeddings.layer_norm.bias, esm.embeddings.layer_norm.weight"),
        ("esm1v", "unknown: esm.embeddings.layer_norm.bias, esm.embeddings.layer_norm.weight"),
    ],
)
def test_a_file_of_another_family_is_refused_in_one_line_with_the_keys(
    family: str, key: str, written: Callable[..., Path]
) -> None:
    with pytest.raises(InputError) as refused:
        loaded(family, written(_file_for(family)))
    assert str(refused.value).endswith(f"do not fit {family}: {key}")


def test_an_esm2_file_is_refused_as_esm1v(written: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"do not fit esm1v: missing: esm\.embeddings\.position_embeddings\.weight$"):
        loaded("esm1v", written("esm2"))


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"layers": 5}, r"missing: esm\.encoder\.layer\.5\.LayerNorm\.bias, .* and 13 more"),
        ({"layers": 7}, r"unknown: esm\.encoder\.layer\.6\.LayerNorm\.bias, .* and 13 more"),
        ({"width": 16}, r"of another shape: esm\.embeddings\.word_embeddings\.weight, .* and \d+ more"),
    ],
)
def test_a_file_of_another_size_is_refused_in_one_line_with_the_keys(
    sizes: dict[str, int], reason: str, written: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match=rf"^the weights in [^\n]* do not fit esm2: {reason}$"):
        loaded("esm2", written("esm2", **sizes))


class RunsCode:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("where", ["model", "beside"])
def test_a_file_that_would_run_code_is_refused_and_does_not(where: str, tmp_path: Path) -> None:
    content, path, mark = content_of("esm2"), tmp_path / "esm2.pt", tmp_path / "ran"
    (content["model"] if where == "model" else content)["x"] = RunsCode(mark)
    torch.save(content, path)
    called = f"{os.mkdir.__module__}.mkdir"
    assert called in get_unsafe_globals_in_checkpoint(str(path))  # the file is what it seems to be: read, not run
    with pytest.raises(InputError, match=r"^[^\n]*esm2\.pt holds more than weights, or is damaged; it is not read$"):
        loaded("esm2", path)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_file_that_breaks_off_is_refused(keep: int, written: Callable[..., Path]) -> None:
    path = written("esm2")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"^[^\n]*esm2\.pt[^\n]*damaged[^\n]*$"):
        loaded("esm2", path)


def contact_head(stack: LayerStack) -> Tensor:
    module: Any = stack.module
    weight = module.esm.contact_head.regression.weight
    assert isinstance(weight, Tensor)
    return weight


def test_the_regression_of_the_contact_head_is_read_where_its_file_lies_beside_the_model(tmp_path: Path) -> None:
    content = content_of("esm2")
    module, regression = split(content)
    torch.save(module, tmp_path / "small.pt")
    torch.save(regression, tmp_path / "small-contact-regression.pt")
    expected = content["model"]["contact_head.regression.weight"]
    with_head, without = loaded("esm2", tmp_path), loaded("esm2", tmp_path / "small.pt")
    assert torch.equal(contact_head(with_head), expected)
    assert not torch.equal(contact_head(without), expected)
    # without its file it is the same each time, and nothing that is measured reads it
    assert torch.equal(contact_head(without), contact_head(loaded("esm2", tmp_path / "small.pt")))
    for one, other in zip(watched(with_head).states, watched(without).states, strict=True):
        assert torch.equal(one, other)


def test_reading_a_file_leaves_torchs_random_state_alone(written: Callable[..., Path]) -> None:
    path = written("esm2")
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    loaded("esm2", path)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rotary_frequencies_stay_exact_in_low_precision(dtype: str, written: Callable[..., Path]) -> None:
    expected = content_of("esm2")["model"]["encoder.sentence_encoder.layers.0.self_attn.rot_emb.inv_freq"]
    for weights in (str(written("esm2")), "random"):
        stack = load_stack(replace(ALL["esm2"], weights=weights, dtype=dtype), seed=0)
        assert torch.equal(stack.module.get_buffer("esm.rotary_embeddings.inv_freq"), expected)


def published(name: str | None) -> LanguageModel:
    return replace(ALL["esm2"], weights="fair_esm", fair_esm=name)


def test_a_published_checkpoint_is_read_from_where_fair_esm_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[..., Path]
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    fetched: list[str] = []

    def fetch(url: str, place: str) -> None:
        fetched.append(url)
        Path(place).write_bytes(written("esm2").read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    first, second = (load_stack(published("esm2_t6_8M_UR50D"), seed=0) for _ in range(2))
    assert fetched == ["https://dl.fbaipublicfiles.com/fair-esm/models/esm2_t6_8M_UR50D.pt"]
    assert (tmp_path / "hub" / "checkpoints" / "esm2_t6_8M_UR50D.pt").exists()
    assert torch.equal(watched(first).states[-1], watched(second).states[-1])
    assert weights_digest(published("esm2_t6_8M_UR50D"), 0).startswith("sha256:")


def test_without_a_connection_a_published_checkpoint_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str, place: str) -> None:
        raise URLError("no route\nand more")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(
        InputError, match=r"^cannot get esm2_t6_8M_UR50D\.pt \([^\n]*no route[^\n]*put the file at[^\n]*$"
    ):
        load_stack(published("esm2_t6_8M_UR50D"), seed=0)


def test_a_model_that_fair_esm_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="is not one of fair-esm's"):
        load_stack(published(None), seed=0)


def test_a_decoder_that_is_not_the_embedding_is_not_written_over_it(tmp_path: Path) -> None:
    state = dict(load_stack(ALL["esm2"], seed=4).module.state_dict())
    state["lm_head.decoder.weight"] = state["lm_head.decoder.weight"] + 1
    torch.save(state, tmp_path / "esm2.pt")
    with pytest.raises(InputError, match=r"not one matrix: lm_head\.decoder\.weight$"):
        loaded("esm2", tmp_path / "esm2.pt")
