"""The command line. Commands are imported when they are called, so that ``pertharness --help`` answers at once."""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "run": ("pertharness.host.cli.run", "Run a recipe, or every installed model, and write the leaderboard."),
    "reproduce": (
        "pertharness.host.cli.reproduce",
        "Run a published benchmark, and print published beside measured.",
    ),
    "score": ("pertharness.host.cli.score", "Put predictions made elsewhere beside the baselines."),
    "split": ("pertharness.host.cli.split", "Write a split of a dataset's perturbations."),
    "data": ("pertharness.host.cli.data", "List, fetch, describe and check datasets."),
    "weights": ("pertharness.host.cli.weights", "List and fetch the weights and side files that models need."),
    "prefetch": ("pertharness.host.cli.prefetch", "Fetch all that a recipe needs, for nodes without a network."),
    "list": ("pertharness.host.cli.inspect", "List datasets, models, embeddings, scorers or runs."),
    "show": ("pertharness.host.cli.inspect", "Show a record: its job, how it ended, its log and files."),
    "verify": ("pertharness.host.cli.verify", "Hash a run or a store again, and name what differs."),
    "store": ("pertharness.host.cli.store", "Show what the store takes up, and remove what nobody needs."),
    "tables": ("pertharness.host.cli.tables", "List or print the tables that a run has beside its leaderboard."),
    "export": ("pertharness.host.cli.export", "Write each model's predictions of a run as h5ad."),
    "check": ("pertharness.host.cli.check", "Hold a plugin against the conformance kit."),
    "env": ("pertharness.host.cli.env", "Build, list, show and remove the environments of plugins."),
    "new": ("pertharness.host.cli.new", "Write a plugin package to start from."),
    "doctor": ("pertharness.host.cli.doctor", "Show machine, store and plugins, and what is wrong with them."),
}

PATIENCE_S = 2.0


class LazyGroup(click.Group):
    """A group whose commands and their short helps are known without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names, in the order in which a newcomer needs them."""
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
        """Say which command may have been meant."""
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
    from pertharness.errors import PertharnessError, RecipeError

    _stop_in_order()
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python drops our handler before it ends; one more would kill it
        print("stopped; the same command goes on from here", file=sys.stderr)
        code = 130
    except RecipeError as error:
        code = _say(str(error), 2)
    except PertharnessError as error:
        code = _say(str(error), 1)
    except OSError as error:
        code = _say(_system_error(error), 1)
    except Exception as error:  # noqa: BLE001 - a user never sees a traceback: it goes to a file
        code = _say(_bug(error), 1)
    sys.exit(_flushed(code if isinstance(code, int) else 0))


def _flushed(code: int) -> int:
    """Give the exit status once all that was printed is out, or the one that says that it could not be."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What the buffer still holds goes nowhere: Python would try once more at its end, and choose another status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or _say(_system_error(error), 1)
    return code


def _stop_in_order() -> None:
    """Let SIGTERM stop the command as Ctrl-C does, and several within a moment count as one: stopping is under way."""
    last = -math.inf

    def interrupt(*_: Any) -> None:
        nonlocal last
        if time.monotonic() - last > PATIENCE_S:
            last = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background job is not to hear Ctrl-C
        signal.signal(signal.SIGINT, interrupt)


def _bug(error: Exception) -> str:
    """Keep the traceback of an error of ours, and say where."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="pertharness-", suffix=".txt", delete=False) as file:
        file.write(f"{sys.argv}\n{''.join(traceback.format_exception(error))}")
    return (
        f"{type(error).__name__}: {error}\nThis is a fault of pertharness; please report it with the file {file.name}"
    )


def _say(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _system_error(error: OSError) -> str:
    elsewhere = "name a store with --store, or a folder for the run with --out, that can be written"
    hints = {
        errno.ENOSPC: "the disk is full; make room and run the same command again",
        errno.EROFS: f"the file system is read-only; {elsewhere}",
        errno.EACCES: f"permission denied; {elsewhere}",
        errno.EEXIST: "is a file; expected a folder, or a name that is free",
        errno.ENOTDIR: "a file is in the way of a folder of this path",
        errno.ENAMETOOLONG: "the name is too long for this file system",
    }
    where = f"{str(error.filename)!r}: " if error.filename else ""
    return f"{where}{hints.get(error.errno or 0, error.strerror or str(error))}"
