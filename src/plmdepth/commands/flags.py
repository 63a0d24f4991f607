"""The flags of a command line: few, and apart from the overrides."""

from collections.abc import Sequence

from plmdepth.errors import InputError

_WITH_VALUE = ("--cfg", "-c", "--info", "-i", "--package", "-p")
_ALONE = ("--help", "-h", "--multirun", "-m", "--resolve", "--hydra-help", "--version")


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return flags with their values, and overrides; a command line may mix them.

    >>> split_arguments(["seed=0,1", "-m", "--cfg", "job"])
    (['-m', '--cfg', 'job'], ['seed=0,1'])
    """
    flags: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        is_value = bool(flags) and flags[-1] in _WITH_VALUE
        (flags if is_value or argument.startswith("-") else overrides).append(argument)
    return flags, overrides


def check_flags(flags: Sequence[str]) -> None:
    """Refuse a flag that is not there.

    Raises:
        InputError: the flag is unknown; options are written without dashes.
    """
    names = [flag for flag in flags if flag.startswith("-")]
    for name in names:
        if name.split("=")[0] not in (*_WITH_VALUE, *_ALONE):
            option = name.lstrip("-")
            written = option if "=" in option else f"{option}=VALUE"
            raise InputError(f"unknown flag {name}; options are written without dashes, as {written}")
