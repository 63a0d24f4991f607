"""``python -m plmdepth.commands.plm_vs_nlm PROTEIN LANGUAGE FOLDER``: compare two records of one decomposition."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from plmdepth.errors import InputError
from plmdepth.report.plm_vs_nlm import why_not_compared, write_comparison
from plmdepth.results.record import Record, is_finished, read_record

_USAGE = "give the record of a protein model, that of a language model, and the folder for the comparison"


def main(arguments: Sequence[str], console: Console) -> int:
    """Compare; a folder that holds records stands for the newest of them. Return the exit code."""
    try:
        if len(arguments) != 3:
            raise InputError(_USAGE)
        protein, language = (_newest(Path(each)) for each in arguments[:2])
        if why := why_not_compared(protein, language):
            raise InputError(why)
        files = write_comparison(protein, language, Path(arguments[2]))
    except InputError as error:
        console.print(f"error: {error}", highlight=False, soft_wrap=True, markup=False)
        return 2
    console.print(files[1].read_text(encoding="utf-8"), highlight=False, soft_wrap=True, markup=False)
    console.print(f"  comparison: {files[1].parent}", highlight=False, soft_wrap=True, markup=False)
    return 0


def _newest(folder: Path) -> Record:
    """Return the record in a folder, or the newest of those below."""
    found = [
        each.parent for each in [folder / "status.json", *folder.glob("*/status.json")] if is_finished(each.parent)
    ]
    if not found:
        raise InputError(f"{folder} holds no finished record; {_USAGE}")
    return read_record(max(found, key=lambda each: (each / "status.json").stat().st_mtime))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Console()))
