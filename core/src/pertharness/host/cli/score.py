"""``pertharness score``: predictions made elsewhere, beside the baselines, with no plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pertharness.host.cli.options import FILE, calibrate_option, data_options, running_options, store_option


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
    store: Path | None,
    out: Path | None,
    retry: tuple[str, ...],
    **given: Any,
) -> None:
    """Score PREDICTIONS, an h5ad with a row per perturbation: obs "perturbation", X mean log expression (log1p CP10k).

    Genes may come in any order. A held-out perturbation that the file lacks is counted as not answered, never filled.
    """
    from pertharness.containers import is_zarr
    from pertharness.errors import RecipeError
    from pertharness.host.cli.run import carry_out_run, end_run, make_recipe
    from pertharness.host.recipe import make_recipe as of_data

    if not predictions.is_file() and not is_zarr(predictions):
        raise RecipeError(f"there is no file {str(predictions)!r}; expected predictions as h5ad")
    recipe = make_recipe(None, {**given, "files": (file,)})
    entry = {"name": model, "file": str(predictions.absolute()), **({"kind": kind} if kind else {})}
    described = {**recipe.model_dump(exclude_none=True), "name": f"{recipe.name}-{model}", "predictions": [entry]}
    end_run(carry_out_run(of_data(described), store, out, retry, named=given["models"] is not None))
