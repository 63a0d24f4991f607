"""The architecture of every option at its true size, on no device: it has the published number of parameters."""

import pytest

from tests.language_models.sizes import built_size, options
from tests.stacks import cases

COUNTED = [(option, number) for case in cases() for option, number in case.parameters.items()]


@pytest.mark.parametrize(("option", "number"), COUNTED)
def test_a_model_has_the_published_number_of_parameters(option: str, number: int) -> None:
    assert built_size(option).parameters == number


def test_every_option_of_every_family_is_counted_by_the_tests_of_one() -> None:
    assert sorted(option for option, _ in COUNTED) == sorted(option for option in options() if "tiny" not in option)
