"""The house keeps its shape: imports go one way, and nothing is unpickled."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "plmdepth"
MODULES = sorted(SOURCE.rglob("*.py"))
EVERYTHING = sorted(
    [*ROOT.glob("*.py"), *(p for part in ("src", "tests", "benchmarks") for p in (ROOT / part).rglob("*.py"))]
)
MAY_IMPORT = {
    "errors": set(),
    "randomness": set(),
    "proteins": {"errors", "randomness"},
    "language_models": {"errors", "proteins"},
    "objectives": {"errors", "randomness", "proteins", "language_models"},
    "results": {"errors", "proteins"},
    "controls": {"errors", "randomness", "proteins", "language_models"},
    "interventions": {"errors", "language_models"},
    "metrics": {"errors", "randomness", "proteins", "language_models", "objectives", "interventions"},
    "quoting": set(),
    "report": {"quoting", "results"},
    "cells": {"errors", "proteins", "language_models", "objectives", "controls", "results"},
    "analysis": {
        *("errors", "proteins", "language_models", "objectives", "controls"),
        *("metrics", "results", "cells"),
    },
    "pretraining": {"errors", "proteins", "language_models", "objectives", "results", "cells", "analysis"},
    "scores": {"errors", "proteins", "randomness", "metrics"},
    "tuned_lens": {
        *("errors", "randomness", "proteins", "language_models", "objectives"),
        *("metrics", "results", "cells", "analysis"),
    },
    "probes": {
        *("errors", "randomness", "proteins", "language_models", "objectives"),
        *("metrics", "results", "cells", "analysis", "scores"),
    },
    "early_exit": {
        *("errors", "randomness", "proteins", "language_models", "objectives"),
        *("metrics", "results", "cells", "analysis", "scores", "probes"),
    },
    "export": {"errors", "proteins", "language_models", "results", "scores", "cells", "probes", "early_exit"},
    "commands": {
        *("errors", "quoting", "proteins", "language_models", "controls", "results", "cells"),
        *("analysis", "early_exit", "report"),
    },
}


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[1] for name in names if name.startswith("plmdepth.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    part = part_of(path)
    if part != "__init__":
        assert imported_parts(path) - {part} <= MAY_IMPORT[part]


def test_every_part_of_the_house_is_listed() -> None:
    assert {part_of(path) for path in MODULES} - {"__init__"} == MAY_IMPORT.keys()


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def option(call: ast.Call, name: str) -> object:
    found = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_and_no_remote_code_runs(path: Path) -> None:
    for call in calls(path):
        name = ast.unparse(call.func)
        assert "trust_remote_code" not in {keyword.arg for keyword in call.keywords}
        assert option(call, "weights_only") is not False
        assert name not in ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load")
        if name == "torch.load":
            assert option(call, "weights_only") is True
