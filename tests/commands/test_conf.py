"""Every YAML option is composed and built."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.objects import build
from plmdepth.commands.overrides import config_groups
from plmdepth.language_models.language_model import LanguageModel

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
ENTRIES = ("analyze", "train")
NO_OBJECT = ("experiment", "sweep")  # it sets keys of other groups
NEEDS = {
    "dataset/fasta": ["dataset.path=my.fasta"],
    "dataset/structures": ["dataset.path=chains"],
    "dataset/table": ["dataset.path=my.csv"],
    "dataset/text": ["dataset.path=my.jsonl"],
    "lens/tuned": ["lens.path=my_lens"],
}
ON_FILES = ("ec", "go_bp", "go_mf", "go_cc", "subcellular", "membrane", "secondary_structure", "fold", "contact")
NEEDS |= {f"dataset/{name}": ["dataset.root=my_files"] for name in ON_FILES}
OPTIONAL = ("probe", "exit")  # none is chosen unless it is asked for

OPTIONS = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.rglob("*.yaml") if path.parent != CONF)
MODELS = [option for option in OPTIONS if option.startswith("model/")]
FAMILIES = sorted(p.stem for p in CONF.glob("model/*.yaml") if OmegaConf.load(p).get("name", p.stem) != p.stem)
"""Options that name a family: its default scale."""


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def _groups_of(entry: str) -> list[str]:
    defaults = OmegaConf.load(CONF / f"{entry}.yaml")["defaults"]
    names = [str(key) for item in defaults if isinstance(item, DictConfig) for key in item]
    return [name.removeprefix("optional ") for name in names if not name.startswith("override hydra/")]


def _entries_with(option: str) -> list[str]:
    group = option.partition("/")[0]
    # An experiment may set a group that one entry point alone has.
    entries = ["train"] if option == "experiment/pretrain_tiny" else ENTRIES
    return [entry for entry in entries if group in _groups_of(entry)]


def _composed(entry: str, option: str) -> DictConfig:
    group, _, name = option.partition("/")
    return compose(entry, overrides=[f"{group}={name}", *NEEDS.get(option, [])])


def _model(option: str) -> LanguageModel:
    model = build(_composed("analyze", option), "model")
    assert isinstance(model, LanguageModel)
    return model


def test_the_walk_reaches_every_file_under_conf() -> None:
    n_files = sum(1 for path in CONF.rglob("*") if path.is_file())
    assert len(OPTIONS) == n_files - len(ENTRIES)
    assert len(OPTIONS) == sum(len(options) for options in config_groups(CONF).values())
    assert len(OPTIONS) >= 26


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_belongs_to_an_entry_point(option: str) -> None:
    assert _entries_with(option)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_is_built(option: str) -> None:
    group = option.partition("/")[0]
    for entry in _entries_with(option):
        config = _composed(entry, option)
        # A set of keys of other groups must leave all of them as they can be built.
        for each in _built_groups(entry, config) if group in NO_OBJECT else [group]:
            assert build(config, each) is not None


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_group_of_an_entry_point_is_built_as_it_stands(entry: str) -> None:
    config = compose(entry)
    for group in _built_groups(entry, config):
        assert build(config, group) is not None


def _built_groups(entry: str, config: DictConfig) -> list[str]:
    groups = [group for group in _groups_of(entry) if group not in NO_OBJECT]
    return [group for group in groups if group in config or group not in OPTIONAL]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_described_by_a_first_comment_of_at_most_100_characters(option: str) -> None:
    lines = (CONF / f"{option}.yaml").read_text().splitlines()
    first = next(line for line in lines if not line.startswith("# @package"))
    assert first.startswith("# ")
    assert 5 <= len(first.removeprefix("# ")) <= 100


@pytest.mark.parametrize("option", MODELS)
def test_every_model_is_named_after_its_file(option: str) -> None:
    name = option.removeprefix("model/")
    assert _model(option).name == name or name in FAMILIES


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("dataset/")])
def test_every_dataset_is_named_after_its_file(option: str) -> None:
    assert build(_composed("analyze", option), "dataset").name == option.removeprefix("dataset/")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("option", MODELS)
def test_every_model_brings_the_objective_that_it_was_trained_with(option: str, entry: str) -> None:
    config = _composed(entry, option)
    model = build(config, "model")
    assert build(config, "objective").name == ("whole" if model.reads == "text" else model.objective)


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_objective_that_is_asked_for_wins_over_the_models(entry: str) -> None:
    config = compose(entry, overrides=["model=tiny_autoregressive", "objective=masked"])
    assert build(config, "objective").name == "masked"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_of_a_family_is_one_of_its_sizes(family: str) -> None:
    model = _model(f"model/{family}")
    assert model.name.startswith(f"{family}_")
    assert model == _model(f"model/{model.name}")


def test_an_experiment_sets_the_keys_of_other_groups() -> None:
    assert compose("train").trainer.precision == "32-true"
    assert compose("train", overrides=["experiment=pretrain_tiny"]).trainer.precision == "bf16-mixed"
