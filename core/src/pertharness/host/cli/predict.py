"""``pertharness predict``: predict perturbations that were never measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pertharness.host.cli.shared_options import FILE, data_options, data_params, running_options, store_option
from pertharness.host.cli.streams import echo

if TYPE_CHECKING:
    from pertharness.host.run.predict import PredictedQueries


@click.command(short_help="Predict perturbations that were never measured.")
@click.option("--model", default="", help="The model, such as linear or linear[k=4].")
@click.option("--data", "data", help="The screen as h5ad, or the name of a dataset such as demo.")
@click.option(
    "--queries",
    multiple=True,
    required=True,
    metavar="LABEL,...|FILE",
    help="Perturbations, such as KLF1,CEBPE+KLF1, or a file with one per line; repeatable.",
)
@click.option("--model-record", default="", metavar="KEY", help="Predict with the model that a record keeps.")
@click.option("--seeds", help="Split seeds of the errors, such as 1-5 (the default).")
@click.option("--no-errors", is_flag=True, help="Do not benchmark the model on the screen.")
@click.option("--out", type=FILE, required=True, help="The h5ad to write.")
@data_options
@running_options
@store_option
def predict(
    model: str,
    data: str | None,
    queries: tuple[str, ...],
    model_record: str,
    seeds: str | None,
    no_errors: bool,
    out: Path,
    store: Path | None,
    retry: tuple[str, ...],
    **options: Any,
) -> None:
    """Fit a model to all of a screen and predict QUERIES, whether or not they were measured.

    First, the model and the usual baseline are benchmarked on held-out perturbations of the screen, and their errors
    are printed. Exit status 1 if a job failed, 2 for a wrong label or model.
    """
    from pertharness.host.cli.reporter import CommandReporter
    from pertharness.host.cli.shared_options import running_resources
    from pertharness.host.run.predict import PredictRequest
    from pertharness.host.run.predict import predict as predict_queries
    from pertharness.host.run.prediction_output import as_adata, write_prediction
    from pertharness.host.run.query_labels import split_queries
    from pertharness.host.run.run_folder import check_output
    from pertharness.host.store.records import Store

    check_output(out, is_file=True)  # before a model is fitted
    request = PredictRequest(
        split_queries(queries), model, data, data_params(options), model_record, seeds, not no_errors,
        running_resources(options), frozenset(retry),
    )  # fmt: skip
    predicted = predict_queries(request, Store.open(store), CommandReporter())
    write_prediction(as_adata(predicted), out)
    print_predicted(predicted, out)


def print_predicted(predicted: PredictedQueries, out: Path) -> None:
    """Print the errors, the unanswered queries and the paths of the files."""
    from pertharness.host.cli.inspect import columns

    if predicted.errors:
        rows = [("task", "model", "l2", "reference", "l2", "n", "verdict")]
        rows += [
            (e.task, e.model, _number(e.l2), e.reference, _number(e.reference_l2), str(e.n), e.verdict or "-")
            for e in predicted.errors
        ]
        for line in columns(rows):
            echo(line)
        for each in predicted.errors:
            echo(each.sentence)
    for note in predicted.notes:
        echo(f"note: {note}")
    perturbations = dict.fromkeys(predicted.queries.values())
    unanswered = {label: predicted.status.unanswered[label] for label in perturbations
                  if label in predicted.status.unanswered}  # fmt: skip
    for label, reason in unanswered.items():
        echo(f"not answered: {label}: {reason}")
    if measured := [label for label in perturbations if label in predicted.measured]:
        echo(f"measured in the screen: {', '.join(measured)}")
    echo(f"trained on: {predicted.trained_on}")
    answered = len(perturbations) - len(unanswered)
    echo(f"{out}: {answered} of {len(perturbations)} perturbations predicted (record {predicted.key[:12]})")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
