"""Fetching published files: resumed where they broke off, and refused where they are not what was published.

Nothing here runs on import: a data set calls it when ``dataset.download=true`` is given and a file is missing.
"""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plmdepth.errors import InputError

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_PARTIAL, _RANGE_REFUSED = 206, 416


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        name: its place under the user's folder.
        url: where it is published.
        size: its bytes, where they are known.
        sha256: its SHA-256, where it is known.
        git_blob: its object id in the repository that publishes it, a SHA-1 of its size and content; it vouches for
            files whose content was at hand nowhere when this list was made.
        lines: its lines, where nothing better is known.
        members: an archive's members and where they go under the user's folder; the archive itself is not kept.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    git_blob: str | None = None
    lines: int | None = None
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def results(self) -> tuple[str, ...]:
        """What there is under the user's folder afterwards."""
        return tuple(self.members.values()) or (self.name,)


def fetch_missing(remotes: Iterable[Remote], root: Path) -> None:
    """Bring the files that are not there; those that are stay as they are.

    Raises:
        InputError: a file cannot be fetched, or is not what was published.
    """
    for remote in remotes:
        if not all((root / name).is_file() for name in remote.results):
            fetch(remote, root)


def fetch(remote: Remote, root: Path) -> None:
    """Bring one file: whole and checked, or not at all.

    Raises:
        InputError: as `fetch_missing`; what has arrived is kept for the next attempt unless it is wrong.
    """
    target = root / remote.name
    partial = target.with_name(f"{target.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    if not (partial.is_file() and partial.stat().st_size == remote.size):
        _transfer(remote, partial)
    if problem := mismatch(partial, remote):
        partial.unlink()
        raise InputError(f"{remote.url} is not the published file: {problem}; it was not kept")
    partial.replace(target)
    if remote.members:
        _unpack(target, remote, root)


def mismatch(path: Path, remote: Remote) -> str | None:
    """Return how a file differs from the published one; None if it does not, as far as that is known."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"{size} bytes, expected {remote.size}"
    if remote.sha256 is not None and (digest := _hash(path, hashlib.sha256())) != remote.sha256:
        return f"SHA-256 {digest}, expected {remote.sha256}"
    header = f"blob {size}\0".encode()
    if (
        remote.git_blob is not None
        and (digest := _hash(path, hashlib.sha1(header, usedforsecurity=False))) != remote.git_blob
    ):
        return f"git object id {digest}, expected {remote.git_blob}"
    if remote.lines is not None and (lines := _count_lines(path)) != remote.lines:
        return f"{lines} lines, expected {remote.lines}"
    return None


def _transfer(remote: Remote, partial: Path) -> None:
    """Append what is missing of a file; begin again where the server does not resume."""
    try:
        if (response := _response(remote.url, _size(partial))) is None:
            return
        with response, partial.open("ab" if response.status == _PARTIAL else "wb") as file:
            announced = response.headers.get("Content-Length")
            whole = None if announced is None else file.tell() + int(announced)
            shutil.copyfileobj(response, file, _CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"cannot fetch {remote.url} ({error}); {_kept(partial)}") from error
    if (expected := whole if remote.size is None else remote.size) is not None and _size(partial) < expected:
        raise InputError(f"{remote.url} broke off before its {expected} bytes; {_kept(partial)}")


def _response(url: str, offset: int) -> http.client.HTTPResponse | None:
    """Ask for a file from an offset on; None where the server has nothing behind it."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED:
            return None
        raise
    return response


def _unpack(archive: Path, remote: Remote, root: Path) -> None:
    """Write the members that are wanted to where they are wanted; an archive's own paths decide nothing."""
    with zipfile.ZipFile(archive) as packed:
        if missing := sorted(remote.members.keys() - set(packed.namelist())):
            raise InputError(f"{remote.url} is not the published file: it has no {missing[0]}")
        for member, name in remote.members.items():
            partial = root / f"{name}.partial"
            partial.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(member) as source, partial.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
            partial.replace(root / name)
    archive.unlink()


def _kept(partial: Path) -> str:
    return f"{_size(partial)} bytes are kept, run again to go on"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _hash(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
