"""Where weights come from, and what is refused."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from plmdepth.errors import InputError
from plmdepth.language_models import weights
from plmdepth.language_models.language_model import LanguageModel
from plmdepth.language_models.weights import load_stack, weights_digest, weights_place
from tests.stacks import EVERYWHERE, example_for, stack_of

ESM2 = EVERYWHERE["esm2"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the weights of a miniature, as Hugging Face writes it."""
    stack_of("esm2").module.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def from_folder(folder: Path, model: LanguageModel = ESM2) -> LanguageModel:
    return replace(model, weights=str(folder))


def test_a_local_folder_gives_back_the_same_weights(saved: Path) -> None:
    loaded = load_stack(from_folder(saved), seed=0).module.state_dict()
    for name, tensor in stack_of("esm2").module.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_with_its_layers_on_disk_a_model_gives_the_same_numbers(saved: Path) -> None:
    from_disk = load_stack(replace(from_folder(saved), placement="disk"), seed=0)
    layers = {parameter.device.type for layer in from_disk.anatomy.layers for parameter in layer.parameters()}
    assert layers == {"meta"}
    tokens = example_for(from_disk).tokens
    with torch.no_grad():
        mine, theirs = (stack.logits(stack.run(tokens)) for stack in (from_disk, stack_of("esm2")))
    assert torch.equal(mine, theirs)


def test_random_weights_cannot_lie_on_disk() -> None:
    with pytest.raises(InputError, match="random ones are made in memory"):
        load_stack(replace(ESM2, placement="disk"), seed=0)


def test_another_layout_cannot_lie_on_disk(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "esm2.pt")
    with pytest.raises(InputError, match=r"model\.placement=disk needs weights in Hugging Face's layout"):
        load_stack(replace(ESM2, weights=str(tmp_path / "esm2.pt"), placement="disk"), seed=0)


def test_random_weights_belong_to_the_seed_and_leave_torchs_own_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (load_stack(ESM2, seed).module.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    name = "esm.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_the_digest_follows_the_content_not_the_place(saved: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in saved.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert weights_digest(from_folder(saved), 0) == weights_digest(from_folder(moved), 1)
    tensors = load_file(moved / "model.safetensors")
    tensors["lm_head.bias"] += 1
    save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    assert weights_digest(from_folder(saved), 0) != weights_digest(from_folder(moved), 0)


def digest_beside(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    return weights_digest(from_folder(folder), 0)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "spiece.model", "vocab.json", "merges.txt"])
def test_the_digest_follows_what_is_read_beside_the_weights(saved: Path, name: str) -> None:
    before = weights_digest(from_folder(saved), 0)
    assert len({before, digest_beside(saved, name, "{}"), digest_beside(saved, name, "[]")}) == 3
    assert digest_beside(saved, name, "{}") != digest_beside(saved, "added_tokens.json", "{}")


@pytest.mark.parametrize("name", ["README.md", "vocab.txt"])
def test_the_digest_does_not_follow_what_no_family_reads(saved: Path, name: str) -> None:
    assert digest_beside(saved, name, "L A G V") == digest_beside(saved, name, "V G A L")


def test_the_same_content_under_another_name_is_another_vocabulary(saved: Path) -> None:
    first = digest_beside(saved, "vocab.json", "{}")
    (saved / "vocab.json").rename(saved / "tokenizer.json")
    assert weights_digest(from_folder(saved), 0) != first


def test_bundled_weights_and_single_files_are_identified_by_their_bytes_alone(saved: Path) -> None:
    file = saved / "model.safetensors"
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights_digest(from_folder(file), 0) == f"sha256:{expected}"
    bundled = Path(weights.__file__).parents[1] / "bundled" / "tiny_masked"
    expected = hashlib.sha256((bundled / "model.safetensors").read_bytes()).hexdigest()
    tiny = replace(ESM2, name="tiny_masked", weights="bundled")
    assert (bundled / "config.json").exists()
    assert weights_digest(tiny, 0) == f"sha256:{expected}"


def test_random_weights_are_identified_by_their_seed() -> None:
    assert weights_digest(ESM2, 3) == "random:3"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_precision_is_the_configured_one(saved: Path, dtype: str) -> None:
    for model in (ESM2, from_folder(saved)):
        stack = load_stack(replace(model, dtype=dtype), seed=0)
        assert {parameter.dtype for parameter in stack.module.parameters()} == {getattr(torch, dtype)}


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def garble_the_header(file: Path) -> None:
    file.write_bytes(b"\xff" * 64 + file.read_bytes()[64:])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, garble_the_header, empty])
def test_a_damaged_file_is_refused_in_one_line(saved: Path, damage: Callable[[Path], None]) -> None:
    damage(saved / "model.safetensors")
    with pytest.raises(InputError, match=r"^cannot read the weights in .*the file is damaged$"):
        load_stack(from_folder(saved), seed=0)


def test_weights_of_another_size_are_refused_by_name(saved: Path) -> None:
    with pytest.raises(InputError, match="its num_hidden_layers is 6, expected 4"):
        load_stack(from_folder(saved, replace(ESM2, n_layers=4)), seed=0)


def test_weights_of_another_family_are_refused_by_name(saved: Path) -> None:
    with pytest.raises(InputError, match="its model_type is esm, expected gptj"):
        load_stack(from_folder(saved, EVERYWHERE["progen2"]), seed=0)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_weights_are_refused_by_name(saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors.pop("esm.encoder.layer.2.output.dense.weight"))
    with pytest.raises(InputError, match=r"missing: esm\.encoder\.layer\.2\.output\.dense\.weight"):
        load_stack(from_folder(saved), seed=0)


def test_weights_of_another_shape_are_refused_by_name(saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors.update({"lm_head.dense.weight": torch.zeros(3, 3)}))
    with pytest.raises(InputError, match=r"of another shape: lm_head\.dense\.weight"):
        load_stack(from_folder(saved), seed=0)


def test_unknown_weights_are_refused_by_name(saved: Path) -> None:
    rewrite(saved, lambda tensors: tensors.update({"esm.extra.weight": torch.zeros(3)}))
    with pytest.raises(InputError, match=r"unknown: esm\.extra\.weight"):
        load_stack(from_folder(saved), seed=0)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(ESM2.architecture_config().to_dict(), default=str))
    with pytest.raises(InputError, match=r"no \.safetensors file"):
        load_stack(from_folder(tmp_path), seed=0)


def test_a_folder_without_a_configuration_is_refused(saved: Path) -> None:
    (saved / "config.json").unlink()
    with pytest.raises(InputError, match=r"no readable config\.json"):
        load_stack(from_folder(saved), seed=0)


def test_a_folder_that_is_not_there_is_refused_with_what_would_work() -> None:
    with pytest.raises(InputError, match="no such folder; give the path of one, or one of hub, random"):
        weights_place(replace(ESM2, weights="/no/such/folder"))


def test_without_a_connection_the_hub_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no connection\nand much more")

    monkeypatch.setattr(weights, "snapshot_download", unreachable)
    with pytest.raises(
        InputError, match=r"^cannot get a/b from the Hub \(no connection\); connect, or .*random[^\n]*$"
    ):
        weights_place(replace(ESM2, weights="hub", hub_id="a/b"))


def test_the_hub_folder_is_loaded_like_a_local_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(weights, "snapshot_download", lambda hub_id, **_: asked.append(hub_id) or str(saved))
    stack = load_stack(replace(ESM2, weights="hub", hub_id="a/b"), seed=0)
    assert set(asked) == {"a/b"}
    assert stack.n_layers == 6


def test_a_miniature_is_small_and_untrained() -> None:
    stack = load_stack(replace(ESM2, n_layers=33, width=1280, weights="hub", miniature=True), seed=0)
    assert (stack.n_layers, stack.n_parameters) == (4, 53_106)  # counted by hand


def test_an_attention_that_the_architecture_lacks_is_refused() -> None:
    with pytest.raises(InputError, match=r"has no attention=sdpa; use model\.attention=eager"):
        load_stack(replace(EVERYWHERE["progen2"], attention="sdpa"), seed=0)
