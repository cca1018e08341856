"""``pertharness verify``: check that a run or a store is unchanged."""

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


@click.command(short_help="Check the files of a run or a store against their checksums.")
@click.argument("path", metavar="[RUN|STORE]", type=FILE, required=False)
@store_option
def verify(path: Path | None, store: Path | None) -> None:
    """Check all files of RUN (a folder such as runs/demo, or its name under runs/) or STORE against their checksums.

    Each difference is printed on a line. For a run, its own files and every record behind it are checked; for a store,
    or without an argument the usual store, every record.

    The command checks artefacts, inputs against the records and files that they came from, and keys against jobs. For a
    run, it also checks the status and the job of each record. A store alone cannot show whether isolation, cost or
    times in a status were edited.
    Exit status: 0 no differences, 1 something differs.
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
    """Print the findings, with a line of progress on a terminal, and return the number of differences."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = error_console()
    bar = Progress(
        TextColumn("records"), BarColumn(bar_width=40), MofNCompleteColumn(), TextColumn("{task.fields[read]}"),
        console=console, transient=True,
    )  # fmt: skip
    n_different = 0
    # Early versions of rich print a line when a disabled bar ends.
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
        echo(f"{_count(n_different, 'difference')}; checked {checked}")
    else:
        echo(f"no differences; checked {checked}")
    return n_different


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
