"""Predict perturbations that were never measured: a job like any other, without truth and without scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import ChoiceError, DataError, RecipeError
from pertharness.contract.jobs import Job, Status
from pertharness.contract.stages import PREDICTION
from pertharness.data.expression import read
from pertharness.host.execution.nodes import Outcome
from pertharness.host.execution.runner import Runner
from pertharness.host.plan import Plan, find_model
from pertharness.host.plan.planner import Planner, with_defaults
from pertharness.host.plan.prediction_jobs import label_of
from pertharness.host.plan.query_jobs import plan_kept, plan_queries
from pertharness.host.plugins.registry import Registry
from pertharness.host.recipe import ModelSpec, Recipe, make_recipe, parse_model
from pertharness.host.run.datasets import dataset_entry, dataset_name
from pertharness.host.run.kept_models import KeptModel, read_kept
from pertharness.host.run.prediction_errors import TaskErrors, errors_recipe, measure_errors, tasks_posed
from pertharness.host.run.prepare import check_installed, make_executor, open_plugins, plan_run
from pertharness.host.run.query_labels import read_queries
from pertharness.host.run.reporter import fetch_reported
from pertharness.host.store.in_use import use_records
from pertharness.host.store.records import Store, read_job

if TYPE_CHECKING:
    from anndata import AnnData

    from pertharness.host.run.reporter import Reporter

_EVERY_STATE_BUT_DONE = frozenset({"failed", "crashed", "timeout", "invalid", "skipped"})
_H5AD = ("datasets", "h5ad")
"""Plugin and offer that read files of users, whose parameters say how labels are read."""


@dataclass(frozen=True)
class PredictRequest:
    """What is to be predicted, and with what.

    Attributes
    ----------
    queries
        Perturbations as a user writes them.
    model
        Such as ``linear[k=4]``; with a `model_record` it may be empty.
    data
        Path of a screen, or the name of a dataset on offer; with a `model_record` it may be None.
    params
        How the data are read.
    model_record
        Key of the record whose model predicts, or its beginning; empty to fit one.
    seeds
        Split seeds of the errors; None for those that a run has.
    with_errors
        Whether the model is benchmarked on the screen.
    resources
        As in a recipe.
    retry
        States of records to make again.
    """

    queries: Sequence[str]
    model: str = ""
    data: str | Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    model_record: str = ""
    seeds: str | Sequence[int] | None = None
    with_errors: bool = True
    resources: Mapping[str, Any] = field(default_factory=dict)
    retry: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PredictedQueries:
    """A prediction in the store, and what is known of it.

    Attributes
    ----------
    key, job, status
        Of its record.
    model
        Label of the model.
    dataset
        Name of the dataset.
    queries
        Query as written -> perturbation, in the order of the queries.
    measured
        Perturbations of the dataset.
    trained_on
        What the model was fitted to.
    means
        Predicted means of the answered perturbations, shape (n_answered, n_genes), float64, log1p CP10k.
    notes
        Lines for a reader of the prediction.
    errors
        Errors of the model on held-out perturbations of the screen, by task.
    slots
        Slots of the model that embeddings fill.
    """

    key: str
    job: Job
    status: Status
    model: str
    dataset: str
    queries: Mapping[str, str]
    measured: frozenset[str]
    trained_on: str
    means: AnnData
    notes: tuple[str, ...] = ()
    errors: tuple[TaskErrors, ...] = ()
    slots: tuple[str, ...] = ()


def predict(request: PredictRequest, store: Store, reporter: Reporter) -> PredictedQueries:
    """Fit a model to all of a screen, or take one that was kept, and predict what the user asks for.

    Raises
    ------
    RecipeError
        If the model, a query or an option cannot be used.
    DataError
        If the data cannot be loaded or a job failed, with the reason.
    """
    if not request.model_record and (not request.model or request.data is None):
        missing = "model" if not request.model else "screen"
        raise RecipeError(f"no {missing} is named; expected a model and a screen, or the record of a kept model")
    predicted, session = _predict(request, store, reporter)
    if not request.with_errors:
        return predicted
    errors, note = _errors(request, predicted, session, store, reporter)
    return replace(predicted, errors=errors, notes=(*predicted.notes, *([note] if note else [])))


@dataclass(frozen=True)
class _Session:
    """What a prediction is planned and carried out with."""

    recipe: Recipe
    registry: Registry
    planner: Planner


def _predict(request: PredictRequest, store: Store, reporter: Reporter) -> tuple[PredictedQueries, _Session]:
    """Do all but the errors."""
    session = _open(request, store, reporter)
    planner = session.planner
    kept = read_kept(store, request.model_record, session.registry) if request.model_record else None
    with ExitStack() as stack:
        used = stack.enter_context(use_records(store, [*planner.plan.nodes, *_keys_of(kept)]))
        observer = stack.enter_context(reporter.jobs(len(planner.plan.nodes)))
        sources = [path for node in planner.plan.nodes.values() for path in node.job.inputs.values()]
        runner = Runner(store, planner.executor, retry=_EVERY_STATE_BUT_DONE, observer=observer, guarded=tuple(sources))
        dataset = _load(planner, runner)
        if kept is not None:
            _check_same(request, kept, dataset, session.registry)
            dataset = kept.dataset
        folder = store.record("datasets", dataset)
        queries = read_queries(request.queries, folder, _label_params(read_job(folder)))
        spec, key = _plan(request, session, kept, tuple(dict.fromkeys(queries.values())))
        used.add(planner.plan.nodes)
        to_do = [node for key, node in planner.plan.nodes.items() if key not in runner.outcomes]
        if observer:
            observer.planned(len(to_do))
        runner.retry = request.retry
        status = _done(runner.run(to_do)[key], planner.plan, key)
        means = read(store.record("predictions", key) / PREDICTION)  # while nobody removes the record
    job = planner.plan.nodes[key].job
    named = kept.split["dataset"] if kept else next(iter(session.recipe.datasets))
    trained_on = kept.describe() if kept else f"all perturbations of dataset {named!r}"
    predicted = PredictedQueries(
        key, job, status, label_of(session.registry, spec), str(named), queries, _measured(folder), trained_on,
        means, tuple(status.notes), slots=tuple(kept.files.job.embeddings if kept else spec.slots),
    )  # fmt: skip
    return predicted, session


def _open(request: PredictRequest, store: Store, reporter: Reporter) -> _Session:
    """Return plugins and plan; the plan has the job that loads the screen, if there is one."""
    data = {} if request.data is None else {dataset_name(request.data): dataset_entry(request.data, request.params)}
    named = {"models": [request.model]} if request.model else {}
    recipe = make_recipe({"name": "predict", "datasets": data, "tasks": [], "resources": request.resources, **named})
    _refuse_grid(recipe)
    registry = open_plugins(recipe, reporter)
    check_installed(recipe, registry)
    executor = make_executor(recipe, store)
    plan = plan_run(recipe, registry, store, executor, lambda name, source: fetch_reported(name, source, reporter))
    return _Session(recipe, registry, Planner(recipe, registry, store, executor, plan))


def _refuse_grid(recipe: Recipe) -> None:
    """Refuse several values of a parameter: all perturbations train, so nothing is left to choose on."""
    for spec in recipe.models or ():
        if spec.grid:
            raise RecipeError(
                f"{spec.text()!r} has several values of {next(iter(spec.grid))!r}; expected one, such as in "
                f"{spec.candidates()[0].text()!r}; pertharness run --models with the grid shows which is chosen on val"
            )


def _load(planner: Planner, runner: Runner) -> str:
    """Load the screen of a plan and return the key of its record; empty if the plan has none.

    Raises
    ------
    RecipeError
        If its file leaves a choice to the user.
    DataError
        If it cannot be loaded.
    """
    for key in planner.plan.datasets.values():
        outcome = runner.run([planner.plan.nodes[key]])[key]
        if outcome.status is not None and outcome.status.type == ChoiceError.__name__:
            raise RecipeError(outcome.message)
        if outcome.state != "done":
            raise DataError(outcome.message)
        return key
    return ""


def _plan(
    request: PredictRequest, session: _Session, kept: KeptModel | None, queries: Sequence[str]
) -> tuple[ModelSpec, str]:
    """Add the job of the prediction, and return its model and its key."""
    planner = session.planner
    if kept is not None:
        key = plan_kept(planner, kept.files, kept.offered, queries)
        return ModelSpec(None, kept.files.job.name, {}, dict(kept.files.job.params)), key
    (spec,) = session.recipe.models or ()
    offered = find_model(session.registry, spec)
    if offered is None:
        raise RecipeError(f"there is no model {spec.text()!r}")
    (dataset,) = planner.plan.datasets
    return spec, plan_queries(planner, dataset, spec, offered, queries)


def _keys_of(kept: KeptModel | None) -> list[str]:
    """Return the keys of the records that a kept model relies on."""
    parts = kept.files.job.key_parts if kept else None
    return [kept.files.key, kept.dataset, parts.inputs["split"]] if kept and parts else []


def _check_same(request: PredictRequest, kept: KeptModel, dataset: str, registry: Registry) -> None:
    """Raise an error if model or screen of a request are not those of the kept model."""
    if dataset and dataset != kept.dataset:
        raise RecipeError(
            f"{request.data!s} is not what the model was fitted to: {kept.describe()}; leave out the data, or predict "
            "without --model-record, which fits the model again"
        )
    if not request.model:
        return
    spec, offer = parse_model(request.model), kept.offered.offer
    params = with_defaults(offer, spec.params, spec.text())
    job = kept.files.job
    if find_model(registry, spec) != kept.offered or params != job.params or spec.slots.keys() != job.embeddings.keys():
        raise RecipeError(f"{request.model!r} is not the model of the record: {kept.describe()}; leave out --model")


def _label_params(job: Job) -> dict[str, Any]:
    """Return the parameters that the labels of a dataset's file were read with."""
    return dict(job.params) if (job.plugin.name, job.name) == _H5AD else {}


def _measured(folder: Path) -> frozenset[str]:
    """Return the perturbations of a dataset's record."""
    from pertharness.host.plan.split_jobs import read_labels

    return frozenset(label.perturbation for label in read_labels(folder))


def _done(outcome: Outcome, plan: Plan, key: str) -> Status:
    """Return the status of a prediction that is done.

    Raises
    ------
    DataError
        If it is not.
    """
    if outcome.state != "done" or outcome.status is None:
        again = (
            "" if outcome.fresh or outcome.status is None else f" (from the store; --retry {outcome.state} repeats it)"
        )
        raise DataError(f"{plan.nodes[key].title}: {outcome.state}: {outcome.message}{again}")
    return outcome.status


def _errors(
    request: PredictRequest, predicted: PredictedQueries, session: _Session, store: Store, reporter: Reporter
) -> tuple[tuple[TaskErrors, ...], str]:
    """Return the errors of the model on the screen by task, and a note if there are none."""
    tasks = tasks_posed(predicted.queries.values())
    if request.data is None:
        return (), "no errors: the screen was not named; name it to benchmark the model on it"
    if request.model_record and predicted.slots:
        return (), "no errors: those of a kept model with embeddings are not measured; predict without --model-record"
    if not tasks:
        return (), "no errors: there is no benchmark of perturbations of three and more targets"
    model = request.model or predicted.model
    recipe = errors_recipe(
        {dataset_name(request.data): dataset_entry(request.data, request.params)}, model, tasks, session.registry,
        request.seeds, request.resources,
    )  # fmt: skip
    if recipe is None:
        return (), "no errors: no installed scorer computes l2; pip install pertharness-scorers"
    return tuple(measure_errors(recipe, predicted.model, store, reporter)), ""
