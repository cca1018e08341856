"""What a person sees while jobs run: on a terminal one live line per job and an overall bar, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from pertharness.host.nodes import Node, Outcome
from pertharness.host.process import WorkerProcess

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

REFRESH_S = 0.2


class PlainDisplay:
    """One line per job that was carried out in this run."""

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

    def started(self, node: Node) -> None:
        """Say nothing: several cheap jobs start at once."""

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Print how a job ended, if it ended in this run or its record says that it failed; not what waited for it."""
        self.ended_jobs += 1
        if outcome.fresh or (outcome.status is not None and outcome.state not in ("done", "skipped")):
            self.console.print(
                f"[{self.ended_jobs}/{self.total}] {outcome.state:8}{node.title}", markup=False, highlight=False
            )
        if outcome.fresh and outcome.state != "done":
            self.console.print(f"    {_first_line(outcome.message)}", markup=False, highlight=False, soft_wrap=True)
        for note in outcome.status.notes if outcome.fresh and outcome.status else ():
            self.console.print(f"    {note}", markup=False, highlight=False, soft_wrap=True)

    def tick(self, running: list[WorkerProcess]) -> None:
        """Nothing moves."""


class LiveDisplay(PlainDisplay):
    """A live line for each running job with its time and memory, and a bar for all."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, total)
        self._progress = _progress(console)
        self._all: TaskID = self._progress.add_task("jobs", total=total)
        self._lines: dict[int, TaskID] = {}
        self._shown = 0.0

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines.values():
            self._progress.remove_task(line)
        self._progress.stop()

    def ended(self, node: Node, outcome: Outcome) -> None:
        """Advance the bar; print only what did not go well, and what was said of a dataset."""
        self._progress.advance(self._all)
        if outcome.fresh and (outcome.state != "done" or (outcome.status and outcome.status.notes)):
            super().ended(node, outcome)
        else:
            self.ended_jobs += 1

    def tick(self, running: list[WorkerProcess]) -> None:
        """Show what every worker is at."""
        if time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        for gone in [pid for pid in self._lines if pid not in {worker.popen.pid for worker in running}]:
            self._progress.remove_task(self._lines.pop(gone))
        for worker in running:
            if not worker.nodes:
                continue
            seconds = time.monotonic() - worker.since
            text = f"  {worker.nodes[0].title}  {seconds:.0f} s  {worker.rss_mb:.0f} MB"
            line = self._lines.get(worker.popen.pid)
            if line is None:
                self._lines[worker.popen.pid] = self._progress.add_task(_escaped(text), total=None)
            else:
                self._progress.update(line, description=_escaped(text))


def make_display(console: Console, total: int) -> PlainDisplay:
    """Give the display that fits where the output goes."""
    return LiveDisplay(console, total) if console.is_terminal else PlainDisplay(console, total)


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _first_line(message: str) -> str:
    return message.splitlines()[0] if message else ""
