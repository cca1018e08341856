"""How a command shows the progress of a run: notes and jobs on standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pertharness.host.cli.fetching import shown_progress
from pertharness.host.cli.streams import echo, error_console

if TYPE_CHECKING:
    from pertharness.host.execution.runner import Observer
    from pertharness.host.fetch import Progress


class CommandReporter:
    """Writes to standard error; if that cannot be written, the work goes on.

    Attributes
    ----------
    verbose
        Print a line per job also where the output is redirected.
    quiet
        Print no notes, no downloads and no jobs.
    """

    def __init__(self, *, verbose: bool = False, quiet: bool = False) -> None:
        self.verbose, self.quiet = verbose, quiet

    def note(self, line: str) -> None:
        """Print a line."""
        if not self.quiet:
            echo(line, err=True)

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show a bar on a terminal, else an occasional line."""
        return nullcontext() if self.quiet else shown_progress(name)

    def jobs(self, number: int) -> AbstractContextManager[Observer | None]:
        """Show a bar and the running jobs on a terminal, else the jobs that went wrong, and notes on data sets."""
        from pertharness.host.run.display import make_display

        return nullcontext() if self.quiet else make_display(error_console(), number, verbose=self.verbose)
