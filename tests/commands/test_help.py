import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from plmdepth.commands.help import help_text
from plmdepth.commands.overrides import check_overrides, config_groups

ENTRIES = ("analyze", "train")


def _groups_of(conf: Path, entry: str) -> list[str]:
    """The groups of an entry point: `- name: option` and `- optional name: option` of its defaults."""
    lines = (conf / f"{entry}.yaml").read_text().partition("defaults:")[2].partition("\n\n")[0]
    return re.findall(r"- (?:optional )?(\w+):", lines)


def _commands(text: str) -> list[list[str]]:
    """The arguments of every example, without the flags and without the remark behind two spaces."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("python ")]
    commands = [shlex.split(re.split(r"\s{2,}", line)[0])[2:] for line in lines]
    return [[word for word in words if not word.startswith("-")] for words in commands]


def _has(config: DictConfig, key: str) -> bool:
    group, _, name = key.partition(".")
    return group in config and name in list(config[group])  # `in` alone overlooks what is still missing


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_option_of_every_group_is_listed_with_its_first_comment(conf: Path, entry: str) -> None:
    lines = [line.split(maxsplit=1) for line in help_text(conf, entry).splitlines() if line.startswith("  ")]
    for group in _groups_of(conf, entry):
        for path in (conf / group).glob("*.yaml"):
            comments = [line for line in path.read_text().splitlines() if line.startswith("# ") and "@" not in line]
            assert [path.stem, comments[0][2:]] in lines


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_groups_of_an_entry_point_are_listed_and_no_others(conf: Path, entry: str) -> None:
    listed = re.findall(r"^(\w+)=$", help_text(conf, entry), re.MULTILINE)
    assert sorted(listed) == sorted(_groups_of(conf, entry))


def test_a_package_line_is_not_taken_for_the_description(conf: Path) -> None:
    assert "@package" not in help_text(conf, "train")


def test_options_without_a_comment_are_listed_by_name_alone(tmp_path: Path) -> None:
    (tmp_path / "metric").mkdir()
    (tmp_path / "metric" / "bare.yaml").write_text("_target_: x\n")
    (tmp_path / "metric" / "described.yaml").write_text("# @package _global_\n# says what it is\na: 1\n")
    (tmp_path / "analyze.yaml").write_text("defaults:\n  - metric: bare\n")
    assert "metric=\n  bare       \n  described  says what it is\n" in help_text(tmp_path, "analyze")


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_examples_are_valid_commands(conf: Path, entry: str) -> None:
    commands = _commands(help_text(conf, entry))
    assert commands
    for command in commands:
        check_overrides(conf, entry, command)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_keys_that_help_names_can_be_set(conf: Path, entry: str) -> None:
    keys = set(re.findall(r"(?<![\w.])(\w+\.\w+)=", help_text(conf, entry))) - {"group.key"}
    assert "model.weights" in keys
    groups = [group for group in _groups_of(conf, entry) if group != "experiment"]  # which sets keys of other groups
    options = [f"{group}={name}" for group in groups for name in config_groups(conf)[group]]
    with initialize_config_dir(str(conf), version_base="1.3"):
        configs = [compose(entry, overrides=[option]) for option in options]
    assert {key for key in keys if not any(_has(config, key) for config in configs)} == set()


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_exit_codes_are_told(conf: Path, entry: str) -> None:
    assert "Exit codes: 0 done, 1 failed, 2 wrong input." in help_text(conf, entry)


def test_the_default_of_every_group_is_one_of_its_options(conf: Path) -> None:
    defaults = OmegaConf.to_container(OmegaConf.load(conf / "analyze.yaml"))["defaults"]  # type: ignore[index,call-overload]
    chosen = {name: option for item in defaults if isinstance(item, dict) for name, option in item.items()}
    chosen = {name: option for name, option in chosen.items() if not name.startswith("override hydra/")}
    assert all(option in config_groups(conf)[name] for name, option in chosen.items() if option is not None)
