"""The bundled models: small, loadable, and as good as their cards say."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from plmdepth.commands.objects import build
from plmdepth.language_models.weights import load_stack, weights_place
from plmdepth.pretraining.score import Score, score
from plmdepth.proteins.grammar.sampling import sample_proteins

NAMES = ("tiny_masked", "tiny_autoregressive", "tiny_diffusion")
_THREE_MEGABYTES = 3_000_000


def scores_of(name: str, conf: Path) -> dict[str, Score]:
    with initialize_config_dir(str(conf), version_base="1.3"):
        overrides = ["objective.mask_fraction=0.3"] if name == "tiny_masked" else []
        config = compose("analyze", overrides=[f"model={name}", *overrides])
    stack = load_stack(build(config, "model"), seed=0)
    return score(stack, build(config, "objective"), list(sample_proteins(0, "valid", 512)), seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_at_most_3_megabytes(name: str, conf: Path) -> None:
    with initialize_config_dir(str(conf), version_base="1.3"):
        model = build(compose("analyze", overrides=[f"model={name}"]), "model")
    assert (weights_place(model) / "model.safetensors").stat().st_size <= _THREE_MEGABYTES
    assert 8 <= load_stack(model, seed=0).n_layers <= 12


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_knows_the_couplings_and_its_card_is_true(name: str, conf: Path) -> None:
    scores = scores_of(name, conf)
    assert scores["coupled"].model < 0.5 * scores["coupled"].family_oracle
    assert scores["all"].coupling_oracle < scores["all"].model < scores["all"].unigram
    card = (Path(__file__).parents[1] / "src" / "plmdepth" / "bundled" / name / "README.md").read_text()
    for part, row in (("all", r"\| all "), ("coupled", r"\| coupled, partner visible ")):
        said = re.search(rf"{row}\|(.*)\|", card)
        assert said is not None
        numbers = [float(cell.strip(" *")) for cell in said.group(1).split("|")]
        each = scores[part]
        assert numbers == pytest.approx([each.unigram, each.family_oracle, each.model, each.coupling_oracle], abs=1e-3)
