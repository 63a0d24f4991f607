from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.objects import build, options, plain
from plmdepth.errors import InputError
from plmdepth.metrics.logit_lens import LogitLens
from plmdepth.metrics.metric import Suite
from plmdepth.metrics.residual import Residual
from plmdepth.objectives.diffusion import Diffusion
from plmdepth.objectives.masked import Masked
from plmdepth.proteins.datasets.demo import DemoDataset
from plmdepth.proteins.datasets.fasta import FastaDataset


@pytest.fixture(autouse=True)
def hydra(conf: Path) -> Iterator[None]:
    with initialize_config_dir(str(conf), version_base="1.3"):
        yield


def _composed(*overrides: str) -> DictConfig:
    return compose("analyze", overrides=list(overrides))


def _built(group: str, *overrides: str) -> Any:
    return build(_composed(*overrides), group)


def _refusal(group: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        _built(group, *overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_group_becomes_its_object() -> None:
    assert _built("objective", "objective.mask_fraction=0.3") == Masked(mask_fraction=0.3)
    assert _built("dataset", "dataset.size=7", "dataset.split=valid") == DemoDataset(name="demo", size=7, split="valid")


def test_objects_inside_objects_are_built() -> None:
    suite = _built("metric", "metric.metrics.logit_lens.vocabulary=full")
    assert suite == Suite({"logit_lens": LogitLens("full"), "residual": Residual()})


def test_objects_hold_plain_python() -> None:
    objective = _built("objective", "objective=diffusion", "objective.noise_levels=[0.2,0.8]")
    assert objective == Diffusion(noise_levels=[0.2, 0.8])
    assert type(objective.noise_levels) is list


def test_a_trainer_is_built_later_with_the_rest_of_its_arguments() -> None:
    trainer = _built("trainer", "trainer.devices=2")
    assert isinstance(trainer, partial)
    assert trainer.keywords["devices"] == 2


def test_a_null_takes_the_default() -> None:
    assert _built("dataset", "dataset.limit=null").limit is None


def test_a_missing_value_is_asked_for_by_name() -> None:
    assert _refusal("dataset", "dataset=fasta") == "dataset.path is required; give dataset.path=VALUE"


def test_a_given_value_is_not_missing() -> None:
    assert _built("dataset", "dataset=fasta", "dataset.path=a.fasta") == FastaDataset(name="fasta", path="a.fasta")


@pytest.mark.parametrize(
    ("group", "override", "message"),
    [
        (
            "objective",
            "+objective.mask_fracton=1",
            "unknown key objective.mask_fracton; did you mean objective.mask_fraction?",
        ),
        ("dataset", "+dataset.sise=3", "unknown key dataset.sise; did you mean dataset.size?"),
        ("trainer", "+trainer.max_step=3", "unknown key trainer.max_step; did you mean trainer.max_steps?"),
        (
            "metric",
            "+metric.metrics.logit_lens.vocabulry=full",
            "unknown key metric.metrics.logit_lens.vocabulry; did you mean metric.metrics.logit_lens.vocabulary?",
        ),
    ],
)
def test_an_added_key_that_the_object_does_not_know_is_refused(group: str, override: str, message: str) -> None:
    assert _refusal(group, override) == message


@pytest.mark.parametrize(
    ("group", "overrides"),
    [
        ("dataset", ["dataset.size=foo"]),
        ("dataset", ["dataset.size=null"]),
        ("dataset", ["dataset.limit=2.5"]),
        ("dataset", ["dataset.limit=[2]"]),
        ("dataset", ["dataset.length_policy=shorten"]),
        ("dataset", ["dataset.split=dev"]),
        ("dataset", ["dataset.path=3", "dataset=fasta"]),
        ("dataset", ["dataset.path=null", "dataset=fasta"]),
        ("model", ["model.dtype=float8"]),
        ("model", ["model.miniature=perhaps"]),
        ("model", ["model.attention=flash"]),
        ("objective", ["objective.mask_fraction=much"]),
        ("objective", ["objective.noise_levels=[much]", "objective=diffusion"]),
        ("metric", ["metric.vocabulary=letters", "metric=logit_lens"]),
        ("metric", ["metric.metrics.logit_lens.vocabulary=letters"]),
        ("control", ["control.layers=seven", "control=dead_layers"]),
        ("tracking", ["tracking.mode=perhaps", "tracking=wandb"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_value_of_the_wrong_type_is_one_line_that_begins_with_its_key(group: str, overrides: list[str]) -> None:
    key = overrides[0].partition("=")[0]
    assert _refusal(group, *overrides).startswith(f"{key}=")


@pytest.mark.parametrize(
    ("group", "overrides", "value"),
    [
        ("objective", ["objective.noise_levels=0.3", "objective=diffusion"], [0.3]),
        ("control", ["control.layers=7", "control=dead_layers"], [7]),
        ("metric", ["metric.components=mlp", "metric=layer_skip"], ["mlp"]),
    ],
)
def test_one_value_stands_for_a_list_of_one(group: str, overrides: list[str], value: list[Any]) -> None:
    one, several = _composed(*overrides), _composed(overrides[0].replace("=", "=[") + "]", overrides[1])
    assert build(one, group) == build(several, group)
    assert options(one, group) == options(several, group)
    assert value in options(one, group).values()


@pytest.mark.parametrize(
    ("group", "override", "message"),
    [
        ("trainer", "trainer._target_=builtins.print", "trainer._target_=builtins.print is no part of this package"),
        ("trainer", "trainer._target_=os.system", "trainer._target_=os.system is no part of this package"),
        ("metric", "metric._target_=pytorch_lightning.Trainer", "metric._target_=pytorch_lightning.Trainer is no part"),
        ("metric", "metric.metrics.residual._target_=builtins.print", "metric.metrics.residual._target_=builtins.prin"),
        ("metric", "+metric.metrics.own={_target_:os.getcwd}", "metric.metrics.own._target_=os.getcwd is no part of"),
        ("metric", "+metric.metrics.own=[{_target_:os.getcwd}]", "metric.metrics.own.0._target_=os.getcwd is no part"),
        (
            "metric",
            "metric._target_=plmdepth.metrics.absent.Absent",
            "metric._target_=plmdepth.metrics.absent.Absent: ",
        ),
        ("metric", "+metric._args_=[1]", "unknown key metric._args_; options have plain names"),
        ("metric", "+metric._partial_=true", "unknown key metric._partial_; options have plain names"),
        ("trainer", "trainer._partial_=false", "unknown key trainer._partial_; options have plain names"),
        ("probe", "++probe.factor=0.5", "probe.factor: no probe is chosen that it could belong to; add probe=OPTION"),
    ],
)
def test_nothing_but_this_package_is_built(group: str, override: str, message: str) -> None:
    assert _refusal(group, override).startswith(message)


def test_a_wrong_word_is_answered_with_the_right_ones() -> None:
    assert _refusal("dataset", "dataset.length_policy=shorten") == (
        "dataset.length_policy=shorten: expected 'error', 'truncate' or 'skip'"
    )


@pytest.mark.parametrize(
    ("group", "override", "kind"),
    [
        ("dataset", "dataset.limit=1e3", int),
        ("dataset", "dataset.size=20.0", int),
        ("dataset", "dataset.limit=true", int),
        ("dataset", "dataset.tokens_per_batch='4096'", int),
        ("model", "model.miniature=no", bool),
        ("model", "model.miniature=0", bool),
        ("objective", "objective.mask_fraction='0.3'", float),
    ],
)
def test_a_value_arrives_in_its_type_or_is_refused(group: str, override: str, kind: type) -> None:
    name = override.partition("=")[0].partition(".")[2]
    with suppress(InputError):
        assert type(getattr(_built(group, override), name)) is kind


@pytest.mark.parametrize(
    ("group", "override", "message"),
    [
        ("dataset", "dataset.size=0", "dataset.size must be at least 1, got 0"),
        ("dataset", "dataset.limit=-1", "dataset.limit must be at least 1, got -1"),
        ("objective", "objective.mask_fraction=2", "objective.mask_fraction must be above 0 and at most 1, got 2"),
    ],
)
def test_a_value_out_of_range_is_refused_in_the_objects_own_words(group: str, override: str, message: str) -> None:
    assert _refusal(group, override) == message


def test_a_reference_to_nothing_is_refused_with_its_group() -> None:
    assert _refusal("dataset", "dataset.name=${nowhere}").startswith("dataset: ")


def test_the_options_of_a_group_name_the_class_and_its_values() -> None:
    assert options(_composed("objective.mask_fraction=0.3"), "objective") == {"is": "Masked", "mask_fraction": 0.3}


def test_the_options_of_a_group_tell_two_classes_apart() -> None:
    assert options(_composed(), "control") == {"is": "Control"}
    assert options(_composed("control=random_weights"), "control") == {"is": "RandomWeights"}


def test_a_group_in_plain_python_has_no_configuration_node_left() -> None:
    content = plain(_composed("control=dead_layers", "control.layers=[7,8]"), "control")
    assert content == {"_target_": "plmdepth.controls.dead_layers.DeadLayers", "layers": [7, 8]}
    assert type(content) is dict
    assert type(content["layers"]) is list


def test_references_are_resolved() -> None:
    config = _composed("seed=5")
    OmegaConf.update(config, "dataset.size", "${seed}")
    assert plain(config, "dataset")["size"] == 5
    assert build(config, "dataset") == replace(DemoDataset(name="demo"), size=5)
