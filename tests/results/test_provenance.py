import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from plmdepth.results import provenance
from plmdepth.results.provenance import environment


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(autouse=True)
def no_other_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a git hook these variables would turn the commands below on the repository of the hook."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "code.py").write_text("x = 1\n")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", "code.py")
    _git(tmp_path, "commit", "--quiet", "--message", "one")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "code.py"))
    return tmp_path


def test_the_commit_is_named_in_full(checkout: Path) -> None:
    sha = environment()["git_sha"]
    assert sha == _git(checkout, "rev-parse", "HEAD")
    assert len(sha) == 40


def test_changed_code_is_marked_dirty(checkout: Path) -> None:
    (checkout / "code.py").write_text("x = 2\n")
    assert environment()["git_sha"] == _git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_tagged_commit_is_still_named_by_its_hash(checkout: Path) -> None:
    _git(checkout, "tag", "--annotate", "v1.0", "--message", "one")
    assert environment()["git_sha"] == _git(checkout, "rev-parse", "HEAD")


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "code.py"))
    assert environment()["git_sha"] is None


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["git_sha"] is None


def test_the_versions_are_those_that_run() -> None:
    versions = environment()["versions"]
    assert versions["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert versions["numpy"] == np.__version__
    assert versions["torch"] == torch.__version__
    assert set(versions) == {
        "python",
        "torch",
        "transformers",
        "pytorch-lightning",
        "torchmetrics",
        "numpy",
        "scikit-learn",
        "biotite",
        "plmdepth",
    }


def test_the_platform_is_named() -> None:
    assert environment()["platform"].startswith(platform.system())
