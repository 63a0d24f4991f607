"""Where numbers come from: code, libraries, machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "torch",
    "transformers",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "scikit-learn",
    "biotite",
    "plmdepth",
)


def environment() -> dict[str, Any]:
    """Return the git commit of the code (None outside a checkout), library versions and the platform."""
    return {
        "git_sha": _git_sha(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "platform": platform.platform(),
    }


def _git_sha() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
