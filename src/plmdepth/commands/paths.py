"""Paths on a command line that Hydra's grammar would read as something else: ``a=b.fasta``, ``copy (1).fasta``."""

import re
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from plmdepth.quoting import quoted

KEYS = frozenset(
    {
        *("dataset.path", "dataset.root", "dataset.structure_tokens", "dataset.parent", "model.weights", "lens.path"),
        *("outputs", "probe_run", "predict", "predict_to", "export", "json"),
    }
)
"""The keys whose values are paths."""

_FUNCTION = re.compile(r"(choice|glob|range|interval|sort|shuffle|tag|int|float|str|bool|json_str)\(.*\)")


def with_quoted_paths(overrides: Sequence[str], sweeps: bool) -> list[str]:
    """Return overrides whose paths Hydra reads as they were typed.

    What Hydra has a meaning of its own for stays as it is: a value in quotes, ``null``, a reference ``${...}``, a
    function such as ``glob(*)``, and in a sweep a comma, which stands between values.

    Args:
        overrides: as typed.
        sweeps: whether the command runs several cells.
    """
    return [_with_quoted_path(each, sweeps) for each in overrides]


def advice_on(override: str) -> str:
    """Return what to write for an override that cannot be read, as it can be pasted."""
    key, equals, value = override.partition("=")
    return f"write {shlex.quote(f'{key}={quoted(value)}')}" if equals and key else "write key=value"


def _with_quoted_path(override: str, sweeps: bool) -> str:
    key, _, value = override.partition("=")
    if key.lstrip("+") not in KEYS or _has_a_meaning(value) or _is_read_as_text(override, value):
        return override
    values = value.split(",") if sweeps else [value]
    return f"{key}=" + ",".join(each if _is_read_as_text(f"{key}={each}", each) else quoted(each) for each in values)


def _has_a_meaning(value: str) -> bool:
    in_quotes = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return in_quotes or value in ("", "null", "???") or "${" in value or bool(_FUNCTION.fullmatch(value))


def _is_read_as_text(override: str, value: str) -> bool:
    """Say whether Hydra reads a value as text, the very text or one in which something is escaped by a backslash."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except HydraException:
        return False
    read = None if parsed.is_sweep_override() else parsed.value()
    return isinstance(read, str) and (read == value or read == re.sub(r"\\(.)", r"\1", value))
