"""The progress of a run as a function shows it: a bar in a notebook or on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.run.display import REFRESH_S, LiveDisplay, PlainDisplay, is_unusual
from pertharness.host.run.reporter import Reporter, Silent
from pertharness.host.text.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from pertharness.host.execution.runner import Observer
    from pertharness.host.fetch import Progress


def make_reporter(*, progress: bool) -> Reporter:
    """Return the reporter that fits this process; a silent one without `progress`."""
    if not progress:
        return Silent()
    from rich.console import Console

    console = Console(stderr=True)
    return RichReporter(console) if console.is_jupyter or console.is_terminal else Silent()


class RichReporter:
    """Shows notes and bars by rich, in a notebook or on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, line: str) -> None:
        """Print a line."""
        self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def downloading(self, name: str) -> Iterator[Progress]:
        """Show a bar of the bytes."""
        from rich import progress as rich_progress

        columns = (rich_progress.TextColumn("{task.description}"), rich_progress.BarColumn(),
                   rich_progress.DownloadColumn(), rich_progress.TransferSpeedColumn())  # fmt: skip
        bar = rich_progress.Progress(*columns, console=self._console, auto_refresh=False)
        task = bar.add_task(printable(name), total=None)
        with _shown(bar, self._console) as refresh:

            def update(done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total)
                refresh()

            yield update

    def jobs(self, number: int) -> AbstractContextManager[Observer]:
        """Show a bar of the jobs."""
        in_notebook = self._console.is_jupyter
        return NotebookDisplay(self._console, number) if in_notebook else LiveDisplay(self._console, number)


class NotebookDisplay(PlainDisplay):
    """A bar of the jobs in the output of a notebook's cell; below it what did not go well, and notes on the data."""

    def __init__(self, console: Console, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        super().__init__(console, total)
        columns = (TextColumn("jobs"), BarColumn(bar_width=40), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._bar = Bar(*columns, console=console, auto_refresh=False)
        self._all = self._bar.add_task("", total=total)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> NotebookDisplay:
        self._refresh = self._stack.enter_context(_shown(self._bar, self.console))
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.update(self._all, description="")
        self._stack.close()

    def planned(self, number: int) -> None:
        """Make the bar longer."""
        super().planned(number)
        self._bar.update(self._all, total=self.total)

    def started(self, node: Node) -> None:
        """Name a job beside the bar."""
        self._bar.update(self._all, description=printable(node.title))

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Advance the bar; print failed and unusual jobs, and how data were understood."""
        self._bar.advance(self._all)
        if is_unusual(node, outcome):
            super().ended(node, outcome)
        else:
            self.ended_jobs += 1
        self._refresh()


@contextlib.contextmanager
def _shown(bar: Any, console: Console) -> Iterator[Any]:
    """Show a bar of rich while the block runs; yield the function that draws it anew, which draws now and then.

    In a notebook rich needs ipywidgets to change what it printed; IPython's own displays, which are always there, do.
    """
    shown_s = 0.0
    if console.is_jupyter:
        handle = sys.modules["IPython"].display.display(bar, display_id=True)

        def draw() -> None:
            if handle is not None:
                handle.update(bar)

        stop = draw
    else:
        bar.start()

        def draw() -> None:
            bar.refresh()

        stop = bar.stop

    def refresh() -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s >= REFRESH_S:
            shown_s = time.monotonic()
            draw()

    try:
        yield refresh
    finally:
        stop()
