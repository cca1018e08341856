"""The stage ``predictions``: predictions of a plugin's model, of a file, or of the technical duplicate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from pertharness.contract.labels import CONTROL
from pertharness.contract.options import (
    DuplicateOptions,
    ExternalOptions,
    ModelOptions,
    PredictionKind,
    keeps_model,
    kind_of_prediction,
    options_of,
)
from pertharness.contract.stages import MODEL, PREDICTION
from pertharness.worker.hooks import guarded_hooks
from pertharness.worker.split_file import read_split
from pertharness.worker.stages.kept_model import keep_model
from pertharness.worker.stages.model_hooks import Trained, fit_model, predict_with
from pertharness.worker.stages.queries import answer_queries
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from pertharness.contract.jobs import Job, Phase


def write_prediction(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write the predicted means of the queries, without anything else that a plugin may have added."""
    from pertharness.contract.predictions import make_prediction
    from pertharness.data import canonical
    from pertharness.worker.prediction_checks import as_matrix, describe_negative_values

    train = canonical.read(job.inputs["train"])
    data = Trained(train, canonical.select(train, [CONTROL]))
    genes = data.controls.var_names
    kind = kind_of_prediction(job)
    prediction, notes = _KINDS[kind](job, folder, phases, data)
    unanswered = {str(query): str(reason) for query, reason in prediction.uns.get("unanswered", {}).items()}
    notes = [*notes, *prediction.uns.get("notes", []), *describe_negative_values(prediction)]
    missing = prediction.uns.get("missing_genes", {})
    if missing:
        first, reason = next(iter(missing.items()))
        notes.append(f"{len(missing)} of {len(genes)} genes are not predicted (first: {first!r}: {reason})")
    answers = zip(prediction.obs["perturbation"].astype(str), as_matrix(prediction), strict=True)
    canonical.write(make_prediction(dict(answers), genes), folder / PREDICTION)
    kept = [MODEL] if keeps_model(job) and (folder / MODEL).exists() else []
    return Result([PREDICTION, *kept], notes=notes, unanswered=unanswered)


def _fit_and_predict(job: Job, folder: Path, phases: list[Phase], data: Trained) -> tuple[AnnData, list[str]]:
    """Return the prediction of a plugin's model, with notes; the job may keep the model in `folder`."""
    hooks, options = guarded_hooks(job, phases), options_of(job, ModelOptions)
    model = fit_model(job, folder, hooks, data)
    notes = keep_model(model, job, folder, hooks) if options.keep_model else []
    return predict_with(model, job, folder, hooks, data, _queries(job, options.score_on)), notes


def _read_external(job: Job, folder: Path, phases: list[Phase], data: Trained) -> tuple[AnnData, list[str]]:
    """Return a prediction that was made elsewhere, with its labels read like those of the dataset, and notes."""
    from pertharness.data import canonical
    from pertharness.worker.external.file import FileChoices
    from pertharness.worker.external.read import read_prediction

    options = options_of(job, ExternalOptions)
    controls, split = data.controls, read_split(job.inputs["split"])
    ids = controls.var.get("ensembl_id", [])
    return read_prediction(
        job.inputs["file"], controls.var_names, _queries(job, options.score_on),
        {label: perturbation for perturbation, label in _labels_given(job.inputs["split"]).items()},
        y0=canonical.control_mean(controls),
        choices=FileChoices(kind=options.prediction_kind, **options.prediction_columns),
        ensembl_ids=dict(zip(map(str, ids), controls.var_names, strict=False)),
        perturbations=[label for part in ("train", "val", "test", "dropped") for label in split.get(part, ())],
        params=options.dataset_params,
    )  # fmt: skip


def _read_duplicate(job: Job, folder: Path, phases: list[Phase], data: Trained) -> tuple[AnnData, list[str]]:
    """Return the technical duplicate: the means over the first halves of the cells."""
    from pertharness.data import canonical
    from pertharness.data.halves import predict_duplicate

    queries = _queries(job, options_of(job, DuplicateOptions).score_on)
    return predict_duplicate(canonical.read(job.inputs["halves"]), queries, data.controls.var_names), []


_KINDS: dict[PredictionKind, Callable[[Job, Path, list[Phase], Trained], tuple[AnnData, list[str]]]] = {
    "model": _fit_and_predict, "queries": answer_queries, "external": _read_external, "duplicate": _read_duplicate,
}  # fmt: skip


def _queries(job: Job, score_on: tuple[str, ...]) -> list[str]:
    """Return the perturbations to predict, in the order of the split."""
    split = read_split(job.inputs["split"])
    return [query for part in score_on for query in split[part]]


def _labels_given(path: Path) -> dict[str, str]:
    """Return the labels of the dataset's file, for the perturbations that are spelt differently there."""
    labels: dict[str, str] = json.loads(path.read_text(encoding="utf-8")).get("labels_given", {})
    return labels
