"""The interface of displays: on a terminal, in a notebook, or none."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pertharness.contract.cards import RemoteFile
    from pertharness.host.execution.runner import Observer
    from pertharness.host.fetch import Progress


class Reporter(Protocol):
    """Shows notes, downloads and jobs."""

    def note(self, line: str) -> None:
        """Show a line that readers of the results may need."""

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show the progress of a download, which is called with the received bytes and the size of the file."""

    def jobs(self, number: int) -> AbstractContextManager[Observer | None]:
        """Show the progress of a number of jobs."""


class Silent:
    """Shows nothing."""

    def note(self, line: str) -> None:
        """Show nothing."""

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show nothing."""
        return nullcontext()

    def jobs(self, number: int) -> AbstractContextManager[Observer | None]:
        """Show nothing."""
        return nullcontext()


def fetch_reported(name: str, source: RemoteFile, reporter: Reporter) -> Path:
    """Return the local file of a published dataset; fetch it if it is missing.

    Raises
    ------
    FetchError
        If it cannot be fetched, or is not the expected file.
    """
    from pertharness.host.fetch import default_folder, fetch

    with reporter.downloading(name) as progress:
        return fetch(source, name=name, folder=default_folder(), progress=progress)
