"""The nearest valid name to a wrong one."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the valid name nearest to a wrong one, else the valid names.

    >>> nearest("esm2_9m", ["esm2_8m", "progen2"])
    '; did you mean esm2_8m?'
    """
    names = sorted(valid)
    by_last_part = {name.rsplit(".", 1)[-1]: name for name in names}
    matches = get_close_matches(wrong, names, n=1, cutoff=0.6)
    last = get_close_matches(wrong.rsplit(".", 1)[-1], by_last_part, n=1, cutoff=0.6)
    if matches:
        return f"; did you mean {matches[0]}?"
    return f"; did you mean {by_last_part[last[0]]}?" if last else f"; valid: {', '.join(names)}"
