"""``pertharness tables``: list and print the tables of a run."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from pertharness.contract.errors import RecipeError
from pertharness.host.cli.inspect import columns
from pertharness.host.cli.streams import echo
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.run.run_folder import folder_of_run, read_manifest
from pertharness.host.text.csv_text import as_row
from pertharness.host.text.did_you_mean import expected

MOST = 200
"""Most rows of a table on a terminal."""

Row = Sequence[str]


@click.command(short_help="List the tables of a run, or print one.")
@click.argument("run")
@click.argument("name", required=False)
@click.option("--dataset", help="Only rows of this dataset.")
@click.option("--model", help="Only rows of this model: linear, or with its parameters linear[k=4].")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on a terminal too, and all rows.")
def tables(run: str, name: str | None, dataset: str | None, model: str | None, as_csv: bool) -> None:
    """List the tables of RUN (a folder such as runs/demo, or its name under runs/), or print the table NAME.

    On a terminal, the table is laid out; elsewhere, it is printed as CSV.
    """
    folder = folder_of_run(Path(run))
    entries: dict[str, Any] = read_manifest(folder).get("tables", {})
    if name is None:
        if dataset or model or as_csv:
            raise click.UsageError("--dataset, --model and --csv are for one table: name it")
        rows = [(table, f"{entry['rows']} rows", entry["summary"]) for table, entry in entries.items()]
        for line in columns(rows) or [f"no tables in {folder}: none of the scorers of the run makes one"]:
            echo(line)
        return
    if name not in entries:
        raise RecipeError(f"{str(folder)!r} has no table {name!r}; {expected(name, entries)}")
    path = folder / "tables" / f"{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader)
        selected = _select_rows(header, reader, name, dataset, model)
        first = list(itertools.islice(selected, 1))
        if not first and (dataset is not None or model is not None):
            raise RecipeError(_no_row(path, dataset, model))
        selected = itertools.chain(first, selected)
        if sys.stdout.isatty() and not as_csv:
            _lay_out(header, selected)
        else:
            _print_csv(itertools.chain([header], selected))


def _select_rows(header: Row, rows: Iterator[Row], name: str, dataset: str | None, model: str | None) -> Iterator[Row]:
    """Yield the rows of a dataset and a model, read one by one.

    Raises
    ------
    RecipeError
        If the table is of the data and has no column of models.
    """
    position_of = {column: position for position, column in enumerate(header)}
    if model is not None and "model" not in position_of:
        raise RecipeError(f"the table {name!r} describes the data, so it has no models; leave out --model")

    def fits(row: Row) -> bool:
        if dataset is not None and row[position_of["dataset"]] != dataset:
            return False
        plain = row[position_of["model"]] if model is not None else ""
        return model is None or model in (plain, model_label(plain, row[position_of["params"]]))

    return filter(fits, rows)


def _no_row(path: Path, dataset: str | None, model: str | None) -> str:
    """Return a message for a dataset or model without rows in a table, with those that have rows."""
    present: dict[str, dict[str, None]] = {"dataset": {}, "model": {}}  # as sets, in the order of the table
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            present["dataset"][row["dataset"]] = None
            if model is not None:
                present["model"] |= {row["model"]: None, model_label(row["model"], row["params"]): None}
    for kind, value in (("dataset", dataset), ("model", model)):
        if value is not None and value not in present[kind]:
            return f"the table {path.stem!r} has no row of the {kind} {value!r}; {expected(value, present[kind])}"
    return f"the table {path.stem!r} has no row of the model {model!r} for the dataset {dataset!r}"


def _print_csv(rows: Iterator[Row]) -> None:
    """Print rows as CSV; a character that the output cannot hold is spelled out."""
    descriptor, encoding = sys.stdout.fileno(), sys.stdout.encoding
    with open(descriptor, "w", newline="", encoding=encoding, errors="backslashreplace", closefd=False) as out:
        out.writelines(map(as_row, rows))


def _lay_out(header: Row, rows: Iterator[Row]) -> None:
    """Print the first rows below each other, without columns that are empty."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pertharness.host.leaderboard.tables import clean

    shown = list(itertools.islice(rows, MOST))
    more = sum(1 for _ in rows)
    filled = [i for i in range(len(header)) if any(row[i] for row in shown)] or list(range(len(header)))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i in filled:
        grid.add_column(Text(clean(header[i])), overflow="fold")
    for row in shown:
        grid.add_row(*(Text(clean(row[i])) for i in filled))
    Console().print(grid)
    if more:
        echo(f"{more} more rows; --csv prints all of them")
