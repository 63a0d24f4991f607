import pytest

from plmdepth.commands.flags import check_flags, split_arguments
from plmdepth.errors import InputError


def test_flags_may_stand_between_overrides() -> None:
    assert split_arguments(["model=tiny_masked", "-m", "seed=0,1"]) == (["-m"], ["model=tiny_masked", "seed=0,1"])


def test_a_flag_keeps_its_value() -> None:
    assert split_arguments(["--cfg", "job", "seed=1"]) == (["--cfg", "job"], ["seed=1"])


@pytest.mark.parametrize(("flag", "written"), [("--force", "force=VALUE"), ("--seed=1", "seed=1")])
def test_an_option_written_as_a_flag_is_refused_with_the_right_spelling(flag: str, written: str) -> None:
    with pytest.raises(InputError, match=f"options are written without dashes, as {written}$"):
        check_flags([flag])


def test_hydras_own_flags_pass() -> None:
    check_flags(["-m", "--cfg", "job", "--resolve"])
