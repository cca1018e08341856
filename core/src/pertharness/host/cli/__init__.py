"""The command line. Commands are imported when they are called, so that ``pertharness --help`` answers at once."""

from __future__ import annotations

import errno
import io
import math
import signal
import sys
import time
from importlib import import_module
from typing import Any

import click

from pertharness.host.cli.streams import (
    UnreadError,
    end_unread,
    flush_output,
    noticing_unread,
    open_closed_streams,
    print_error,
)

COMMANDS = {
    "run": ("pertharness.host.cli.run", "Run a recipe, or every installed model, and write the leaderboard."),
    "reproduce": (
        "pertharness.host.cli.reproduce",
        "Run a published benchmark and compare with the published numbers.",
    ),
    "score": ("pertharness.host.cli.score", "Compare predictions made elsewhere with the baselines."),
    "predict": ("pertharness.host.cli.predict", "Predict perturbations that were never measured."),
    "split": ("pertharness.host.cli.split", "Write a split of a dataset's perturbations."),
    "data": ("pertharness.host.cli.data", "List, fetch, describe and check datasets."),
    "weights": ("pertharness.host.cli.weights", "List and fetch the weights and side files that models need."),
    "prefetch": ("pertharness.host.cli.prefetch", "Fetch everything a recipe needs, for nodes without a network."),
    "list": ("pertharness.host.cli.inspect", "List datasets, models, embeddings, scorers, recipes or runs."),
    "show": ("pertharness.host.cli.inspect", "Show a record: its job, how it ended, its log and files."),
    "verify": ("pertharness.host.cli.verify", "Check the files of a run or a store against their checksums."),
    "store": ("pertharness.host.cli.store", "Show the size of the store, and remove records no run needs."),
    "tables": ("pertharness.host.cli.tables", "List the tables of a run, or print one."),
    "compare": ("pertharness.host.cli.compare", "Show what differs between two runs."),
    "export": ("pertharness.host.cli.export", "Write each model's predictions in a run as h5ad."),
    "check": ("pertharness.host.cli.check", "Check a plugin with the conformance kit."),
    "env": ("pertharness.host.cli.env", "Build, list, show and remove the environments of plugins."),
    "new": ("pertharness.host.cli.new", "Write a plugin package to start from."),
    "doctor": ("pertharness.host.cli.doctor", "Show the machine, the store and the plugins, and their problems."),
}

PATIENCE_S = 2.0


class LazyGroup(click.Group):
    """A group whose commands and their short helps are known without importing them."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the options; --help and --version print here."""
        with noticing_unread():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out the command."""
        with noticing_unread():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        name = {"list": "list_"}.get(cmd_name, cmd_name)
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return which command may have been meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(COMMANDS)}"
            ctx.fail(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pertharness", message="pertharness %(version)s")
def cli() -> None:
    """Benchmark models that predict how cells respond to genetic perturbations.

    pertharness run --all runs every installed model on the embedded demo data and prints a leaderboard.
    """


def main() -> None:
    """Run the command line: every error is a message, exit 1 if something failed, 2 for a usage or recipe error."""
    open_closed_streams()
    _stop_in_order()
    try:
        code = _carry_out()
        flush_output()
    except (UnreadError, BrokenPipeError):
        end_unread()
    except OSError as error:
        code = code or _say(_system_error(error), 1)
    sys.exit(code)


STOPPED = "interrupted; rerun the same command to resume"


def _carry_out() -> int:
    """Carry out the command, put what goes wrong into words, and return the exit status."""
    from pertharness.contract.errors import PertharnessError, RecipeError

    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        return _say(shown.getvalue().rstrip("\n"), error.exit_code, "")
    except (click.Abort, KeyboardInterrupt):
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Python drops our handler before it ends; another signal would kill it
        return _say(STOPPED, 130, "")
    except RecipeError as error:
        return _say(str(error), 2)
    except PertharnessError as error:
        return _say(str(error), 1)
    except UnreadError:
        raise
    except OSError as error:
        return _say(_system_error(error), 1)
    except Exception as error:  # noqa: BLE001 - a user never sees a traceback: it goes to a file
        if _was_stopped(error):
            return _say(STOPPED, 130, "")
        return _say(_bug(error), 1)
    return code if isinstance(code, int) else 0


def _was_stopped(error: Exception) -> bool:
    """Return whether Ctrl-C came while pydantic wrote JSON, because pydantic turns any exception into its own error."""
    if type(error).__name__ != "PydanticSerializationError" or "KeyboardInterrupt" not in str(error):
        return False
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return True


def _stop_in_order() -> None:
    """Let SIGTERM stop the command like Ctrl-C; several signals within a moment count as one."""
    last = -math.inf

    def interrupt(*_: Any) -> None:
        nonlocal last
        if time.monotonic() - last > PATIENCE_S:
            last = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background job must ignore Ctrl-C
        signal.signal(signal.SIGINT, interrupt)


def _bug(error: Exception) -> str:
    """Save the traceback of an internal error to a file, and return a message with its path."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="pertharness-", suffix=".txt", delete=False) as file:
        file.write(f"{sys.argv}\n{''.join(traceback.format_exception(error))}")
    return (
        f"{type(error).__name__}: {error}\nThis is a bug in pertharness; please report it and attach the file "
        f"{file.name}"
    )


def _say(message: str, code: int, before: str = "error: ") -> int:
    """Print a message if possible, and return the exit status."""
    print_error(f"{before}{message}")
    return code


def _system_error(error: OSError) -> str:
    elsewhere = "name a writable store with --store, or a writable folder for the run with --out"
    hints = {
        errno.ENOSPC: "the disk is full; free some disk space and rerun the same command",
        errno.EDQUOT: "the user's disk quota is used up; free some disk space and rerun the same command",
        errno.EFBIG: "larger than ulimit -f or the file system allows; raise the limit and rerun the same command",
        errno.EROFS: f"the file system is read-only; {elsewhere}",
        errno.EACCES: f"permission denied; {elsewhere}",
        errno.EEXIST: "is a file; expected a folder, or a path that does not exist",
        errno.ENOTDIR: "a folder of this path is a file",
        errno.ENAMETOOLONG: "the name is too long for this file system",
    }
    where = f"{str(error.filename)!r}: " if error.filename else ""
    return f"{where}{hints.get(error.errno or 0, error.strerror or str(error))}"
