"""The standard streams of a command: closed streams, streams without a reader, and streams that cannot be written."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import click

from pertharness.host.text.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

_UNREAD = 128 + 13
"""The exit status that a shell shows for a program that SIGPIPE ended, such as cat, grep and ls."""


def open_closed_streams() -> None:
    """Open the null device for each standard stream that is closed.

    Otherwise a file that is opened later would become standard output, and receive the printed text.
    """
    for number, mode in enumerate(("r", "w", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            name = ("stdin", "stdout", "stderr")[number]
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - to the end


def flush_output() -> None:
    """Flush the printed output, so that an error in it can still be reported.

    Raises
    ------
    OSError
        If it cannot be written. It then goes nowhere: at its end Python would try once more, and exit with 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)
        raise


def print_error(text: str) -> None:
    """Print a text to standard error; if that cannot be written, only the exit status reports the error."""
    try:
        print(printable(text, newlines=True), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


class _Narration:
    """Standard error for displays: if it can no longer be written, it goes silent, and the work goes on.

    A reader that has ended is different: it ends the command, see `noticing_unread`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, unless the stream has failed."""
        with _going_silent(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it has failed."""
        with _going_silent(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _going_silent(stream: TextIO) -> Iterator[None]:
    """Discard the output of a stream, now and later, if it can no longer be written: a full disk, a closed terminal."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        _discard(stream)


def error_console() -> Console:
    """Return a console on standard error, for displays of progress."""
    from rich.console import Console

    return Console(file=cast("TextIO", _Narration(sys.stderr)))


def _discard(stream: TextIO) -> None:
    """Discard the pending and later output of a stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def echo(text: str, *, err: bool = False) -> None:
    """Print a text; characters that control a terminal, or that it cannot show, are escaped.

    `err`: to standard error, for progress; if it cannot be written, the work goes on.
    """
    with _going_silent(sys.stderr) if err else contextlib.nullcontext():
        click.echo(printable(text, newlines=True), err=err)


def echo_rendered(text: str) -> None:
    """Print a text that was made for this terminal, with colours, from parts that were escaped before."""
    click.echo(text, nl=False, color=True)


class UnreadError(Exception):
    """The reader of the output has ended. Not a BrokenPipeError, which click handles itself with exit status 1."""


@contextlib.contextmanager
def noticing_unread() -> Iterator[None]:
    """Turn the error of a pipe without a reader, and the exit that rich makes of it, into an UnreadError."""
    try:
        yield
    except BrokenPipeError as error:
        raise UnreadError from error
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise UnreadError from end
        raise


def end_unread() -> NoReturn:
    """End this process silently by SIGPIPE, like a Unix tool whose output nobody reads, such as in ``| head``."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    os._exit(_UNREAD)  # if the signal is blocked
