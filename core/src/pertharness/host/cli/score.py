"""``pertharness score``: compare predictions made elsewhere with the baselines, without a plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pertharness.host.cli.option_groups import GroupedCommand
from pertharness.host.cli.shared_options import (
    FILE,
    calibrate_option,
    data_options,
    loudness,
    output_options,
    running_options,
    store_option,
)


@click.command(cls=GroupedCommand, short_help="Compare predictions made elsewhere with the baselines.")
@click.argument("predictions", type=FILE)
@click.option("--data", "file", type=FILE, required=True, help="The screen as h5ad.")
@click.option("--split", type=FILE, required=True, help="The split's JSON; `pertharness split` writes one.")
@click.option("--name", "model", required=True, help="Name of the model on the leaderboard.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(["double", "single"]),
    help="What the split holds out (default: detected).",
)
@click.option(
    "--prediction-kind",
    "kind",
    type=click.Choice(["mean", "change"]),
    help="What a row is: a mean, or a change, to which the mean of the controls is added (default: a mean).",
)
@click.option(
    "--prediction-label-column",
    "label_column_of_file",
    help="Column of its obs that names the perturbation; index: the names of the rows.",
)
@click.option(
    "--prediction-gene-column",
    "gene_column_of_file",
    help="Column of its var that names the genes; index: var_names.",
)
@click.option("--prediction-layer", "layer_of_file", help="Its layer to read in place of X; raw: adata.raw.")
@click.option("--models", help="Models to compare with, comma-separated (default: every installed one).")
@click.option("--scorers", help="Scorers, comma-separated.")
@calibrate_option
@click.option("--out", type=FILE, help="Folder of the run (default: runs/NAME).")
@data_options
@output_options
@running_options
@store_option
def score(
    predictions: Path,
    file: Path,
    model: str,
    kind: str | None,
    label_column_of_file: str | None,
    gene_column_of_file: str | None,
    layer_of_file: str | None,
    store: Path | None,
    out: Path | None,
    retry: tuple[str, ...],
    **options: Any,
) -> None:
    """Score PREDICTIONS, an h5ad with a row per perturbation, or cells of it: X log1p of counts per 10 000.

    Genes can be in any order; labels are read like those of the screen. Cells of a perturbation are averaged, and
    controls are ignored. A held-out perturbation that is not in the file counts as unanswered and is never filled. The
    file is checked before any model runs. Exit status 2 if it cannot be used.

    The file is checked before any model runs. Exit status 2 if it cannot be used.
    """
    from pertharness.host.cli.run import carry_out_run, choices_of, choose, end_run
    from pertharness.host.run.prediction_files import check_prediction_file, with_predictions

    columns = {"label_column": label_column_of_file, "gene_column": gene_column_of_file, "layer": layer_of_file}
    reading = {name: value for name, value in {"kind": kind, **columns}.items() if value is not None}
    loud = loudness(options)
    chosen = choices_of(options, data=(file,), tasks=options["tasks"], split=options["split"])
    check_prediction_file(predictions, reading)
    recipe = with_predictions(choose(None, chosen), {model: predictions}, reading)
    named = options["models"] is not None
    end_run(carry_out_run(recipe, store, out, retry, named=named, files_first=True, **loud))
