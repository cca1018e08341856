"""``pertharness verify``: whether all that was recorded is still what it was."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pertharness.contract.errors import RecipeError
from pertharness.host.cli.shared_options import FILE, store_option
from pertharness.host.cli.streams import echo, error_console
from pertharness.host.run.run_folder import folder_of_run, read_manifest

if TYPE_CHECKING:
    from pertharness.host.store.verify import Finding, Verifier


@click.command(short_help="Hash a run or a store again, and name what differs.")
@click.argument("path", metavar="[RUN|STORE]", type=FILE, required=False)
@store_option
def verify(path: Path | None, store: Path | None) -> None:
    """Hash again all that RUN (a folder such as runs/demo, or its name under runs/) or STORE holds.

    What is not as it was recorded is named, each thing in a line.

    Of a run: its own files, and every record that it was joined from. Of a store, or without an argument of the usual
    one: every record. Compared are artefacts, inputs with the records and files that they came from, keys with jobs. Of
    a run also status and job of each record with those that it was joined from; a store alone cannot tell whether what
    a status says of isolation, cost or times was edited.
    Exit status: 0 all is as recorded, 1 something differs.
    """
    from pertharness.host.store.marker import MARKER
    from pertharness.host.store.records import Store
    from pertharness.host.store.verify import Verifier

    manifest = None
    if path is not None and (path / MARKER).is_file():
        if store is not None:
            raise click.UsageError(f"{str(path)!r} is a store itself: leave out --store, or name a run")
        store = path
    elif path is not None:
        path = folder_of_run(path)
        try:
            manifest = read_manifest(path)
        except RecipeError as error:
            raise RecipeError(f"{error}; verify takes a run's folder, or a store's, with its {MARKER}") from None
        store = store or Path(manifest["store"])
    verifier = Verifier(Store.existing(store))
    n_records = len(manifest["records"]) if manifest else len(verifier.records())
    findings = verifier.verify_run(path, manifest) if path and manifest else verifier.verify_store()
    if _report(verifier, findings, n_records):
        sys.exit(1)


def _report(verifier: Verifier, findings: Iterable[Finding], n_records: int) -> int:
    """Print what was found, with a line of progress on a terminal, and return the number of differences."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = error_console()
    bar = Progress(
        TextColumn("records"), BarColumn(bar_width=40), MofNCompleteColumn(), TextColumn("{task.fields[read]}"),
        console=console, transient=True,
    )  # fmt: skip
    n_different = 0
    # The first versions of rich print a line where a bar that is switched off ends.
    with bar if console.is_terminal else contextlib.nullcontext():
        records = bar.add_task("records", total=n_records, read="")
        verifier.progress = lambda _: bar.update(
            records, completed=verifier.n_records, read=f"{verifier.n_bytes / 1e6:.0f} MB"
        )
        for finding in findings:
            n_different += finding.differs
            echo(finding.text if finding.differs else f"not compared: {finding.text}", err=not finding.differs)
    checked = (
        f"{_count(verifier.n_records, 'record')}, {_count(verifier.n_files, 'file')}, {verifier.n_bytes / 1e6:.1f} MB"
    )
    if n_different:
        echo(f"{_count(n_different, 'difference')}; looked at {checked}")
    else:
        echo(f"all is as it was recorded: {checked}")
    return n_different


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
