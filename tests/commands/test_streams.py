"""A terminal that cannot show a letter changes the picture, not the exit code."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plmdepth.commands.streams import never_fail_at_a_letter
from tests.commands.probing import CONF


def test_letters_become_plainer_where_they_must(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only, latin = (io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("ascii", "latin-1"))
    monkeypatch.setattr(sys, "stdout", ascii_only)
    monkeypatch.setattr(sys, "stderr", latin)
    never_fail_at_a_letter()
    for stream in (ascii_only, latin):
        stream.write("0.5 ± 0.1 • é 蛋 \udce9")
        stream.flush()
    assert ascii_only.buffer.getvalue() == rb"0.5 +- 0.1 * \xe9 \u86cb \udce9"  # type: ignore[attr-defined]
    assert latin.buffer.getvalue() == b"0.5 \xb1 0.1 * \xe9 \\u86cb \\udce9"  # type: ignore[attr-defined]


def test_a_cell_is_measured_on_an_ascii_terminal(tmp_path: Path) -> None:
    small = ["metric=residual", "model.miniature=true", "dataset.size=2", f"outputs={tmp_path / 'josé'}"]
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CONF.parent / "analyze.py"), *small]
    done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"tiny_masked on demo, 2 proteins" in done.stdout
    assert done.stdout.isascii()
    assert rb"jos\xe9" in done.stdout
