"""Tracking: where a finished record is also sent. The record is complete without it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from plmdepth.results.identity import Identity
from plmdepth.results.record import Record


class Sink(Protocol):
    """An open run of a tracking service."""

    def publish(self, record: Record) -> None:
        """Send a finished record."""


class Tracking(Protocol):
    """A tracking service."""

    def check(self) -> None:
        """Refuse what is known to be in vain before any work is done.

        Raises:
            InputError: it is.
        """

    def run(self, identity: Identity) -> AbstractContextManager[Sink]:
        """Open a run for a cell; it is closed on leaving the context, also after an error."""


class NoTracking:
    """``tracking=none``: the record on disk alone."""

    def check(self) -> None:
        """Refuse nothing."""

    @contextmanager
    def run(self, identity: Identity) -> Iterator[Sink]:  # noqa: ARG002
        """Open nothing."""
        yield self

    def publish(self, record: Record) -> None:
        """Send nothing."""
