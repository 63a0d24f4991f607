"""Fixtures that many tests share."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

from tests.certificate import TOLERANCE, Certify, Row, compared, table

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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity", action="store_true", help="print the certificate of parity")


_ROWS: list[Row] = []


@pytest.fixture
def certify() -> Certify:
    """Hold a stack to another implementation, and note how far it is from it."""

    def compare(
        family: str,
        oracle: str,
        states: Sequence[Tensor],
        their_states: Sequence[Tensor],
        logits: Tensor | None = None,
        their_logits: Tensor | None = None,
    ) -> None:
        row = compared(family, oracle, states, their_states, logits, their_logits)
        _ROWS.append(row)
        for layer, apart in enumerate(row.states):
            assert apart <= TOLERANCE, f"layer {layer}: {apart}"
        assert row.logits is None or row.logits <= TOLERANCE

    return compare


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--parity"):
        terminalreporter.section("parity: largest difference over layers and at the logits, float32")
        for line in table(_ROWS):
            terminalreporter.write_line(line)
