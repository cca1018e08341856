"""Published files fetched for a command, with their progress shown."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pertharness.contract.cards import RemoteFile
from pertharness.host.cli.streams import echo, error_console
from pertharness.host.fetch import Progress, default_folder, fetch

_LINE_EVERY = 100_000_000


def fetch_shown(name: str, source: RemoteFile, *, folder: Path | None = None, again: bool = False) -> Path:
    """Return the local file of a published dataset; fetch it with a progress display if it is missing."""
    with shown_progress(name) as progress:
        return fetch(source, name=name, folder=folder or default_folder(), progress=progress, again=again)


@contextlib.contextmanager
def shown_progress(name: str) -> Iterator[Progress]:
    """Show a bar on a terminal, else an occasional line."""
    if not sys.stderr.isatty():
        yield _lines(name, lambda line: echo(line, err=True))
        return
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}"), rich_progress.BarColumn(), rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(), rich_progress.TimeRemainingColumn(),
    )  # fmt: skip
    with rich_progress.Progress(*columns, console=error_console()) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(name: str, write: Callable[[str], None]) -> Progress:
    """Return a progress that writes a line at each tenth, or every 100 MB if the size is unknown."""
    last = -1

    def print_step(done: int, total: int | None) -> None:
        nonlocal last
        step = 10 * done // total if total else done // _LINE_EVERY
        if step != last:
            last = step
            write(f"{name}: {10 * step} % of {total / 1e6:.0f} MB" if total else f"{name}: {done / 1e6:.0f} MB")

    return print_step
