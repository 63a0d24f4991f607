import pytest

from plmdepth.commands.nearest import nearest

KEYS = ["dataset.length_policy", "dataset.limit", "dataset.path", "model.weights", "seed"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dataset.lenght_policy", "dataset.length_policy"),
        ("dataset.limits", "dataset.limit"),
        ("sede", "seed"),
        ("modle.weights", "model.weights"),
    ],
)
def test_a_slip_of_the_finger_gives_the_name_that_was_meant(wrong: str, right: str) -> None:
    assert nearest(wrong, KEYS) == f"; did you mean {right}?"


@pytest.mark.parametrize(("wrong", "right"), [("weights", "model.weights"), ("lenght_policy", "dataset.length_policy")])
def test_a_key_without_its_group_gives_the_whole_key(wrong: str, right: str) -> None:
    assert nearest(wrong, KEYS) == f"; did you mean {right}?"


def test_a_key_in_the_wrong_group_gives_the_right_one() -> None:
    assert nearest("trainer.limit", KEYS) == "; did you mean dataset.limit?"


def test_the_nearest_of_several_is_named() -> None:
    assert nearest("esm2_9m", ["esm2_3b", "esm2_650m", "esm2_8m", "progen2"]) == "; did you mean esm2_8m?"


def test_something_quite_different_gives_all_names_in_order() -> None:
    assert nearest("quux", ["residual", "logit_lens"]) == "; valid: logit_lens, residual"


def test_names_may_come_from_a_generator() -> None:
    assert nearest("residul", (name for name in ["logit_lens", "residual"])) == "; did you mean residual?"
