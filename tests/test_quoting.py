"""What is printed to be pasted is read back as it was meant, by the shell and by Hydra."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from plmdepth.quoting import command, quoted

VALUES = [
    "plain/a.fasta",
    "a=b.fasta",
    "sample #1.fasta",
    "copy (1).fasta",
    "x[1]/{y}.fasta",
    "it's.fasta",
    'say "hi".fasta',
    "josé/ü.fasta",
    "a,b.fasta",
    "a b",
    " leading and trailing ",
    "back\\slash",
    "ends in \\",
    '\\"',
    "\\\\'",
    "${seed}",
    "$HOME",
    "~/a.fasta",
    "null",
    "true",
    "1e3",
    "12",
    "a:b",
    "-x",
    "*",
    "a|b;c&d",
    "100%",
    "!x",
    "?",
    "日本/蛋白.fasta",
    "",
    "tab\tin it",
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_quoted_value_is_read_back(value: str) -> None:
    assert read(f"key={quoted(value)}") == value


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_printed_command_can_be_pasted(value: str) -> None:
    python, script, first, second = shlex.split(command("analyze.py", lens__path=Path(value), model=value))
    assert (python, script) == ("python", "analyze.py")
    assert first.startswith("lens.path=")
    assert read(first) == str(Path(value))
    assert read(second) == value


def test_plain_values_stay_as_they_are() -> None:
    assert command("analyze.py", model="esm2_8m", probe_run="out/1-a:b@c+d") == (
        "python analyze.py model=esm2_8m probe_run=out/1-a:b@c+d"
    )


def read(override: str) -> str:
    """Return the text of a value as a run would see it."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    assert not parsed.is_sweep_override()
    config = OmegaConf.create({"seed": 3, "key": parsed.value()})
    return str(config.key)
