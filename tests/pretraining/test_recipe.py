import pytest

from plmdepth.errors import InputError
from plmdepth.pretraining.recipe import Recipe


def test_the_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=1000, warmup_steps=100, final_fraction=0.02)
    rates = [recipe.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01, rel=1e-3)
    assert max(rates) == pytest.approx(0.98, abs=0.01)
    assert rates.index(max(rates)) == pytest.approx(99, abs=2)
    assert rates[-1] == pytest.approx(0.02)
    assert recipe.rate(500) == pytest.approx(0.5)


@pytest.mark.parametrize("option", ["steps", "batch_size", "valid_size", "valid_every"])
def test_counts_start_at_one(option: str) -> None:
    with pytest.raises(InputError, match=f"training.{option} must be at least 1, got 0"):
        Recipe(**{option: 0})
