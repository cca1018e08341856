"""How a command shows the progress of a run: notes and jobs on standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pertharness.host.cli.fetching import shown_progress
from pertharness.host.cli.streams import echo, error_console

if TYPE_CHECKING:
    from pertharness.host.execution.runner import Observer
    from pertharness.host.fetch import Progress


class CommandReporter:
    """Writes to standard error; if that cannot be written, the work goes on."""

    def note(self, line: str) -> None:
        """Print a line."""
        echo(line, err=True)

    def downloading(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show a bar on a terminal, else now and then a line."""
        return shown_progress(name)

    def jobs(self, number: int) -> AbstractContextManager[Observer]:
        """Show a bar and the running jobs on a terminal, else a line per job."""
        from pertharness.host.run.display import make_display

        return make_display(error_console(), number)
