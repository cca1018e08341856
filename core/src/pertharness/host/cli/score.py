"""``pertharness score``: predictions made elsewhere, beside the baselines, with no plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from pertharness.host.cli.shared_options import FILE, calibrate_option, data_options, running_options, store_option


@click.command(short_help="Put predictions made elsewhere beside the baselines.")
@click.argument("predictions", type=FILE)
@click.option("--data", "file", type=FILE, required=True, help="The screen as h5ad.")
@click.option("--split", type=FILE, required=True, help="The split's JSON; `pertharness split` writes one.")
@click.option("--name", "model", required=True, help="Name of the model on the leaderboard.")
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(["double", "single"]), help="Default: what the split holds out."
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
    **given: Any,
) -> None:
    """Score PREDICTIONS, an h5ad with a row per perturbation, or cells of it: X log1p of counts per 10 000.

    Genes may come in any order; labels are read as those of the screen. Cells of a perturbation are averaged, controls
    left aside. A held-out perturbation that the file lacks is counted as not answered, never filled.

    The file is checked before any model runs. Exit status 2 if it cannot be used.
    """
    from pertharness.contract.errors import RecipeError
    from pertharness.data.containers import is_zarr
    from pertharness.host.cli.run import carry_out_run, end_run, make_recipe
    from pertharness.host.recipe import make_recipe as of_data

    if not predictions.is_file() and not is_zarr(predictions):
        raise RecipeError(f"there is no file {str(predictions)!r}; expected predictions as h5ad")
    columns = {"label_column": label_column_of_file, "gene_column": gene_column_of_file, "layer": layer_of_file}
    choices = {name: value for name, value in {"kind": kind, **columns}.items() if value is not None}
    recipe = make_recipe(None, {**given, "files": (file,)})
    entry = {"name": model, "file": str(predictions.absolute()), **choices}
    described = {**recipe.model_dump(exclude_none=True), "name": f"{recipe.name}-{model}", "predictions": [entry]}
    wanted = of_data(described)
    check_file(predictions, choices)
    end_run(carry_out_run(wanted, store, out, retry, named=given["models"] is not None, files_first=True))


def check_file(predictions: Path, choices: dict[str, str]) -> None:
    """Check a file of predictions as far as that needs no dataset.

    Raises
    ------
    RecipeError
        If it cannot be used.
    """
    from pertharness.contract.errors import RecipeError

    # Whatever is wrong with a file of a user's, it is opened by another process than this one.
    asked = json.dumps({"file": str(predictions.absolute()), "choices": choices})
    command = [sys.executable, "-I", "-m", "pertharness.worker.external.check"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RecipeError(lines[-1] if lines else f"{str(predictions)!r} cannot be read; expected predictions as h5ad")
