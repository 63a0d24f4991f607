"""Fixtures that many tests share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real proteins beside the checkout; a test that needs them skips where they are missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real proteins are not beside this checkout (shared/data)")
    return folder


@pytest.fixture(scope="session")
def conf() -> Path:
    """The folder of configurations."""
    return ROOT / "conf"
