"""``pertharness split``: draw a split and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pertharness.host.cli.option_groups import GroupedCommand
from pertharness.host.cli.shared_options import data_options, data_params, store_option
from pertharness.host.cli.streams import echo


@click.command(cls=GroupedCommand, short_help="Write a split of a dataset's perturbations.")
@click.argument("data")
@click.option("--kind", required=True, help="double, simulation, unseen or all; see docs/splits.md.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Split seed.")
@click.option("--variant", help="Variant of the kind.")
@click.option("--folds", type=int, help="Number of folds (kind unseen).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON to write.")
@data_options
@store_option
def split(
    data: str, kind: str, seed: int, variant: str | None, folds: int | None, out: Path, store: Path | None,
    **options: Any,
) -> None:  # fmt: skip
    """Split DATA: an h5ad file, or the name of a dataset such as demo or norman."""
    from pertharness.contract.errors import RecipeError
    from pertharness.host.cli.loading import find_record
    from pertharness.host.plan.split_jobs import read_labels
    from pertharness.host.splits import make_split, split_problems, write_split

    params = {} if folds is None else {"folds": folds}
    if problems := [message for _, message in split_problems(kind, variant, params)]:
        raise RecipeError("; ".join(problems))
    record = find_record(data, data_params(options), store)
    for note in record.notes:
        echo(f"  {note}")
    labels = read_labels(record.folder)
    made = make_split(labels, kind=kind, seed=seed, variant=variant, dataset=record.name, params=params)
    write_split(made, out)
    dropped = f", {len(made.dropped)} dropped" if made.dropped else ""
    echo(f"{out}: {len(made.train)} train, {len(made.val)} val, {len(made.test)} test{dropped} (hash {made.hash[:12]})")
