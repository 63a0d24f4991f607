"""Paths that Hydra's grammar would read as something else just work; the rest gets advice that can be pasted."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from plmdepth.commands.paths import KEYS, advice_on, with_quoted_paths
from tests.commands.probing import invoke, refusal

ODD = [
    "a=b.fasta",
    "sample #1.fasta",
    "copy (1).fasta",
    "x[1].fasta",
    "{x}/y.fasta",
    "it's.fasta",
    'say "hi".fasta',
    "josé/ü.fasta",
    "a,b.fasta",
    "a b.fasta",
    "back\\slash.fasta",
    "10_name=with=equals_é(1).fasta",
    "12",
    "true",
    "~/a.fasta",
    "glob(x",
    "a:b",
    "*",
]


def read(override: str) -> object:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed.value()


@pytest.mark.parametrize("key", ["dataset.path", "probe_run", "+export", "++outputs"])
@pytest.mark.parametrize("path", ODD)
def test_a_path_is_read_as_it_was_typed(path: str, key: str) -> None:
    (override,) = with_quoted_paths([f"{key}={path}"], sweeps=False)
    assert read(override) == path


@pytest.mark.parametrize(
    "override",
    [
        "dataset.path=plain/a-b_1.fasta",
        "dataset.path='a=b.fasta'",
        'dataset.path="a=b.fasta"',
        "predict=null",
        "outputs=${hydra:runtime.cwd}/x",
        r"dataset.path=a\ b.fasta",
        r"dataset.path=a\,b.fasta",
        "dataset.label=a=b",  # no path
        "model=esm2_8m,progen2_small",
        "dataset.path",
        "dataset.path=",
    ],
)
def test_what_has_a_meaning_stays(override: str) -> None:
    assert with_quoted_paths([override], sweeps=False) == [override]


def test_in_a_sweep_a_comma_stands_between_paths() -> None:
    quoted = with_quoted_paths(["dataset.path=a=1.fasta,b.fasta", "dataset.path=a,b", "predict=glob(*)"], sweeps=True)
    assert quoted == ['dataset.path="a=1.fasta",b.fasta', "dataset.path=a,b", "predict=glob(*)"]


@pytest.mark.parametrize("value", ["a=b", "a#b", "(x", "[x", "{x", "it's", "ü", "a, b"])
def test_advice_can_be_pasted(value: str) -> None:
    (word,) = shlex.split(advice_on(f"dataset.label={value}").removeprefix("write "))
    assert (word.partition("=")[0], read(word)) == ("dataset.label", value)


def test_every_key_of_a_path_is_one_of_the_configuration(conf: Path) -> None:
    words = (conf / "analyze.yaml").read_text() + "".join(path.read_text() for path in conf.glob("*/*.yaml"))
    for key in KEYS - {"export", "json", "dataset.parent"}:
        assert f"{key.rpartition('.')[2]}:" in words


@pytest.mark.parametrize("name", ["a=b.fasta", "josé (1) #2/[x]{y}, it's.fasta"])
def test_a_file_of_any_name_is_measured(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(">p\nMKTAYIAKQR\n")
    outputs = tmp_path / "out [/x] :smile: = é"
    small = ("metric=residual", "model.miniature=true", "dataset=fasta")
    assert invoke(tmp_path, "analyze", *small, f"dataset.path={path}", f"outputs={outputs}") == 0
    (record,) = outputs.rglob("result.json")
    assert f"record: {record.parent}" in capsys.readouterr().out


def test_what_cannot_be_read_is_answered_with_what_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path, "analyze", "model.name=a=b#c")
    assert line == """error: cannot read 'model.name=a=b#c'; write 'model.name="a=b#c"'"""
