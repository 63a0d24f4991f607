"""The ids of any number of records, in memory that does not grow with them."""

import sqlite3
from types import TracebackType
from typing import Self


class IdSetOnDisk:
    """A set of ids in a temporary file, gone when it is closed.

    >>> with IdSetOnDisk() as ids:
    ...     ids.add("a")
    ...     "a" in ids, "b" in ids
    (True, False)
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # no name: a temporary file of its own
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction: never written out for safety, only for room

    def __contains__(self, identifier: object, /) -> bool:
        return self._database.execute("SELECT 1 FROM ids WHERE id = ?", (identifier,)).fetchone() is not None

    def add(self, identifier: str, /) -> None:
        """Note an id."""
        self._database.execute("INSERT OR IGNORE INTO ids VALUES (?)", (identifier,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
