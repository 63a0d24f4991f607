from collections.abc import Sequence
from pathlib import Path

import pytest

from plmdepth.commands.overrides import check_overrides, config_groups
from plmdepth.commands.paths import advice_on
from plmdepth.errors import InputError


def _refusal(conf: Path, *arguments: str, entry: str = "analyze") -> str:
    with pytest.raises(InputError) as caught:
        check_overrides(conf, entry, arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_every_folder_is_a_group_and_every_file_in_it_an_option(tmp_path: Path) -> None:
    for name in ("analyze.yaml", "metric/b.yaml", "metric/a.yaml", "metric/notes.txt", "model/c.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert config_groups(tmp_path) == {"metric": ["a", "b"], "model": ["c"]}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["model=esm2_8m"],
        ["model=esm2_8m,tiny_masked", "metric=logit_lens,residual"],
        ["model.weights=random", "model.miniature=true"],
        ["dataset=fasta", "dataset.path=my.fasta"],
        ["dataset=fasta", "dataset.path='a, b.fasta'"],
        ["control=dead_layers", "control.layers=[7,8]"],
        ["model=tiny_autoregressive", "model.rotary_width=8"],
        ["objective=diffusion", "objective.noise_levels=[0.2,0.8]"],
        ["model=tiny_diffusion", "objective.noise_levels=[0.2]"],
        ["metric.metrics.logit_lens.vocabulary=full"],
        ["metric=effective_depth", "metric.parts.layer_skip.reduction=mean"],
        ["seed=0,1,2"],
        ["seed=range(0,3)"],
        ["model=glob(esm2*)"],
        ["hydra.verbose=true"],
        ["+model.token_dropout=false"],
        ["++seed=1"],
    ],
    ids=" ".join,
)
def test_what_is_there_can_be_set(conf: Path, arguments: Sequence[str]) -> None:
    check_overrides(conf, "analyze", arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model=esm2_9m", "unknown option model=esm2_9m; did you mean esm2_8m?"),
        ("metric=logitlens", "unknown option metric=logitlens; did you mean logit_lens?"),
        ("control=shuffled", "unknown option control=shuffled; did you mean shuffled_residues?"),
        ("tracking=quux", "unknown option tracking=quux; valid: none, wandb"),
        ("experiment=pretrain_tny", "unknown option experiment=pretrain_tny; did you mean pretrain_tiny?"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(conf: Path, argument: str, message: str) -> None:
    assert _refusal(conf, argument) == message


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("modle=esm2_8m", "unknown key modle; did you mean model?"),
        ("dataset.lenght_policy=skip", "unknown key dataset.lenght_policy; did you mean dataset.length_policy?"),
        ("weights=random", "unknown key weights; did you mean model.weights?"),
        ("sed=1", "unknown key sed; did you mean seed?"),
        ("model.miniture=true", "unknown key model.miniture; did you mean model.miniature?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(conf: Path, argument: str, message: str) -> None:
    assert _refusal(conf, argument) == message


@pytest.mark.parametrize(
    "argument", ["model=esm2_8m,esm2_9m", "model=esm2_9m,esm2_8m", "model=choice(esm2_9m,esm2_8m)"]
)
def test_every_choice_of_a_sweep_is_checked(conf: Path, argument: str) -> None:
    assert _refusal(conf, argument) == "unknown option model=esm2_9m; did you mean esm2_8m?"


def test_the_second_of_two_overrides_is_checked_too(conf: Path) -> None:
    assert _refusal(conf, "model=esm2_8m", "metric=residul").startswith("unknown option metric=residul")


def test_a_key_of_an_option_that_is_not_chosen_is_refused(conf: Path) -> None:
    assert _refusal(conf, "dataset.path=my.fasta").startswith("unknown key dataset.path")


def test_a_key_that_only_the_chosen_option_lacks_is_refused(conf: Path) -> None:
    assert _refusal(conf, "objective=diffusion", "objective.mask_fraction=0.3").startswith(
        "unknown key objective.mask_fraction"
    )


@pytest.mark.parametrize(("entry", "argument"), [("train", "metric=residual"), ("analyze", "training=pretraining")])
def test_a_group_of_the_other_entry_point_is_refused(conf: Path, entry: str, argument: str) -> None:
    other = {"train": "analyze", "analyze": "train"}[entry]
    assert _refusal(conf, argument, entry=entry) == (
        f"{argument} is an option of {other}.py; run python {other}.py {argument}"
    )


@pytest.mark.parametrize("argument", ["a b=1", "seed=[1", "dataset.path=a:b c(d"])
def test_what_cannot_be_read_is_shown_with_what_to_do(conf: Path, argument: str) -> None:
    assert _refusal(conf, argument) == f"cannot read {argument!r}; {advice_on(argument)}"


def test_an_empty_mapping_is_refused_because_it_would_change_nothing(conf: Path) -> None:
    assert _refusal(conf, "metric=effective_depth", "metric.parts={}") == (
        "metric.parts={} would change nothing; set the keys below it, metric.parts.KEY=VALUE"
    )


def test_a_key_unlike_any_other_is_answered_with_every_key_once(conf: Path) -> None:
    names = _refusal(conf, "quux=1").removeprefix("unknown key quux; valid: ").split(", ")
    assert {"dataset.limit", "model", "seed"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("entry", "arguments", "message"),
    [
        ("analyze", ["probe=linear"], "probe=linear is an option of train.py; run python train.py probe=linear"),
        (
            "analyze",
            ["probe.layers=6", "seed=1"],
            "probe.layers=6 is an option of train.py; run python train.py probe.l",
        ),
        (
            "analyze",
            ["++probe.factor=0.5"],
            "++probe.factor=0.5 is an option of train.py; run python train.py ++probe.f",
        ),
        ("analyze", ["training.steps=3"], "training.steps=3 is an option of train.py; run python train.py training.s"),
        (
            "analyze",
            ["experiment=pretrain_tiny"],
            "experiment=pretrain_tiny is an option of train.py; run python train",
        ),
        ("train", ["metric=suite"], "metric=suite is an option of analyze.py; run python analyze.py metric=suite"),
        (
            "train",
            ["metric.scope=all"],
            "metric.scope=all is an option of analyze.py; run python analyze.py metric.scope",
        ),
        ("train", ["lens=tuned"], "lens=tuned is an option of analyze.py; run python analyze.py lens=tuned"),
        ("train", ["control=none"], "control=none is an option of analyze.py; run python analyze.py control=none"),
        ("train", ["exit=early"], "exit=early is an option of analyze.py; run python analyze.py exit=early"),
        ("train", ["probe_run=x"], "probe_run=x is an option of analyze.py; run python analyze.py probe_run=x"),
        (
            "train",
            ["predict='my file.fasta'", "seed=1"],
            """predict='my file.fasta' is an option of analyze.py; run python analyze.py 'predict='"'"'my file""",
        ),
    ],
)
def test_an_option_of_the_other_entry_point_says_so(conf: Path, entry: str, arguments: list[str], message: str) -> None:
    assert _refusal(conf, *arguments, entry=entry).startswith(message)


def test_what_both_entry_points_have_belongs_to_either(conf: Path) -> None:
    for entry in ("analyze", "train"):
        check_overrides(conf, entry, ["model=esm2_8m", "dataset=demo", "tracking=wandb", "trainer=gpu", "seed=1"])
    check_overrides(conf, "train", ["experiment=pretrain_tiny", "probe=linear", "probe.layers=6"])


@pytest.mark.parametrize("key", ["hydra.launcher._target_", "++hydra.sweeper._target_"])
def test_hydra_is_given_no_other_code_to_run(conf: Path, key: str) -> None:
    assert "would run other code than this package's" in _refusal(conf, f"{key}=os.system")
