"""The display of running jobs: on a terminal a live line per job and an overall bar, elsewhere plain lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from pertharness.host.execution.executor import Usage
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.text.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S = 0.2


class PlainDisplay:
    """Plain lines: with `verbose` one per job of this run, otherwise only for jobs that need attention."""

    verbose = False

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.ended_jobs = 0

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def planned(self, number: int) -> None:
        """Count more jobs."""
        self.total += number

    def started(self, node: Node) -> None:
        """Ignore the start of a job: several cheap jobs start at once."""

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Print how a job ended, if it ended in this run or its record failed, but not for jobs that waited for it.

        Notes on a dataset are printed before the models run, even if another run loaded it.
        """
        self.ended_jobs += 1
        if not (self.verbose or is_unusual(node, outcome)):
            return
        is_bad = outcome.status is not None and outcome.state not in ("done", "skipped")
        if outcome.fresh or is_bad or _shown_notes(node, outcome):
            self.console.print(
                f"[{self.ended_jobs}/{self.total}] {outcome.state:8}{printable(node.title)}",
                markup=False,
                highlight=False,
            )
        if outcome.fresh and outcome.state != "done":
            self.console.print(f"    {_first_line(outcome.message)}", markup=False, highlight=False, soft_wrap=True)
        for note in _shown_notes(node, outcome):
            self.console.print(f"    {printable(note)}", markup=False, highlight=False, soft_wrap=True)

    def tick(self, running: list[tuple[Node, Usage]]) -> None:
        """Do nothing: no line changes."""


class VerboseDisplay(PlainDisplay):
    """One line per job of this run."""

    verbose = True


class LiveDisplay(PlainDisplay):
    """A bar for all jobs, and below it a live line for each running job, with its time and memory."""

    def __init__(self, console: Console, total: int) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__init__(console, total)
        self._bar = Progress(TextColumn("jobs"), BarColumn(bar_width=40), MofNCompleteColumn(), console=console)
        self._all = self._bar.add_task("jobs", total=total)
        # Leave the streams of the process alone, which others print to.
        self._live = Live(
            self._bar, console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._shown = 0.0

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def planned(self, number: int) -> None:
        """Make the bar longer."""
        super().planned(number)
        self._bar.update(self._all, total=self.total)

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Advance the bar; print only failed and unusual jobs, and the notes on a dataset."""
        self._bar.advance(self._all)
        super().ended(node, outcome)

    def tick(self, running: list[tuple[Node, Usage]]) -> None:
        """Show the job of every worker."""
        from rich.console import Group
        from rich.text import Text

        if time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        lines = [
            f"  {printable(node.title)}  {self._shown - usage.since:.0f} s  {usage.rss_mb:.0f} MB"
            for node, usage in running
        ]
        self._live.update(
            Group(self._bar, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines)), refresh=True
        )


def make_display(console: Console, total: int, *, verbose: bool = False) -> PlainDisplay:
    """Return the display that fits the output."""
    if verbose:
        return VerboseDisplay(console, total)
    return LiveDisplay(console, total) if console.is_terminal else PlainDisplay(console, total)


def is_unusual(node: Node, outcome: Outcome) -> bool:
    """Return whether to print a job even if others are only counted."""
    return (outcome.fresh and outcome.state != "done") or bool(_shown_notes(node, outcome))


def _shown_notes(node: Node, outcome: Outcome) -> list[str]:
    """Return the notes to print: those of jobs of this run, and always those of datasets."""
    is_shown = outcome.fresh or node.stage == "datasets"
    return outcome.status.notes if is_shown and outcome.status else []


def _first_line(message: str) -> str:
    return printable(message.partition("\n")[0].rstrip("\r"))
