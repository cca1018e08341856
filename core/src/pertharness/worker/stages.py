"""The stages of a job: what each reads, which hooks it calls, what it leaves."""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pertharness.contract import hookspecs
from pertharness.contract.errors import ContractError, DataError
from pertharness.contract.jobs import OUT, SCRATCH, Job, Phase, Task
from pertharness.contract.labels import CONTROL, targets_of
from pertharness.contract.protocol import PROJECT
from pertharness.contract.stages import (
    CARD,
    DATASET,
    EMBEDDING,
    FACTS,
    HALVES,
    PERTURBATIONS,
    PREDICTION,
    PSEUDOBULK,
    SCORES,
    SPLIT,
)
from pertharness.worker.split_file import read_split

if TYPE_CHECKING:
    import pluggy
    from anndata import AnnData


@dataclass(frozen=True)
class Result:
    """What a stage leaves: names of files in the job's folder `OUT`, and what goes into the status."""

    artefacts: list[str]
    notes: list[str] = field(default_factory=list)
    unanswered: dict[str, str] = field(default_factory=dict)


def run_stage(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Carry out a job in its folder and append to `phases` what its hooks cost.

    Raises
    ------
    ContractError
        If the plugin breaks a contract.
    """
    stage = STAGES[job.stage]
    return (pkgutil.resolve_name(stage) if isinstance(stage, str) else stage)(job, folder / OUT, phases)


def preload(job: Job) -> None:
    """Read what score jobs of one split and one prediction share, in the process that forks theirs.

    What goes wrong does so again in the job itself, which has a record to say it in.
    """
    from pertharness.worker.observed import read_observed, read_predicted

    if job.stage == "scores":
        with contextlib.suppress(Exception):
            read_observed(job)
            read_predicted(job.inputs["prediction"])


def load_plugin(job: Job) -> pluggy.PluginManager:
    """Import the job's plugin and hold its hooks and their arguments against the specs.

    Raises
    ------
    ContractError
        If the plugin has a hook, or an argument of one, that the specs do not know.
    """
    import pluggy

    from pertharness.worker.hook_search import QuickManager

    manager = QuickManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    plugin = importlib.import_module(job.plugin.module)
    try:
        manager.register(plugin, name=job.plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ContractError(
            f"plugin {job.plugin.name!r}: {error}; see pertharness.contract.hookspecs for hooks and arguments"
        ) from None
    return manager


def guarded_hooks(job: Job, phases: list[Phase], known: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Return the hooks of the job's plugin, inside Meter and Guard, which takes the digests that are `known`."""
    from pertharness.worker.guard import Guard
    from pertharness.worker.meter import Meter

    manager = load_plugin(job)
    manager.register(Meter(phases))
    manager.register(Guard(job, known))
    return manager.hook


def implemented(hooks: Any, hook: str, job: Job) -> pluggy.HookCaller:
    """Return one hook, once the plugin has it."""
    caller: pluggy.HookCaller = getattr(hooks, hook)
    if not any(not implementation.wrapper for implementation in caller.get_hookimpls()):
        raise ContractError(
            f"plugin {job.plugin.name!r} offers {job.name!r} but has no hook {hook!r}; "
            f"define the function and mark it with @pertharness.hookimpl"
        )
    return caller


def _cards(job: Job, folder: Path, phases: list[Phase]) -> Result:
    card = implemented(guarded_hooks(job, phases), "describe", job)()
    (folder / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")
    return Result([CARD])


def _datasets(job: Job, folder: Path, phases: list[Phase]) -> Result:
    from pertharness.data import canonical

    load = implemented(guarded_hooks(job, phases), "load_dataset", job)
    adata = load(name=job.name, source=job.inputs.get("source"), params=job.params)
    fields = dict(adata.uns["pertharness"])
    adata.uns["pertharness"] = {**fields, "name": job.options["dataset"]}
    canonical.write(adata, folder / DATASET)
    # Of what was written: it is uncompressed, and its values are what they are to be.
    means = canonical.pseudobulk(canonical.open_stored(folder / DATASET))
    canonical.write(means, folder / PSEUDOBULK)
    canonical.describe_perturbations(means).to_csv(folder / PERTURBATIONS, index=False)
    facts = {
        "n_obs": adata.n_obs,
        "n_genes": adata.n_vars,
        **{k: fields[k] for k in ("level", "modality", "origin") if k in fields},
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1, default=str), encoding="utf-8")
    notes = fields.get("notes", "")
    lines = notes.splitlines() if isinstance(notes, str) else [str(line) for line in notes]
    return Result([DATASET, PSEUDOBULK, PERTURBATIONS, FACTS], notes=lines)


def _splits(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write train and val, as cells or as means: the only expression that a model job will name."""
    from pertharness.data import canonical

    split = read_split(job.inputs["drawn"])
    shutil.copyfile(job.inputs["drawn"], folder / SPLIT)
    adata = canonical.open_stored(job.inputs["dataset"])
    names = [SPLIT]
    for part in ("train", "val"):
        if split[part]:
            canonical.write(canonical.select(adata, split[part]), folder / f"{part}.h5ad")
            names.append(f"{part}.h5ad")
    return Result(names)


def _halves(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write the means over two halves of each perturbation's cells, for score jobs alone."""
    import numpy as np

    from pertharness.data import canonical, halves

    adata = canonical.open_stored(job.inputs["dataset"])
    canonical.write(halves.halve(adata, np.random.default_rng(job.seed)), folder / HALVES)
    return Result([HALVES])


def _embeddings(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write an embedding of the data's genes, or of the split's targets and the control."""
    from pertharness.data import canonical
    from pertharness.data.embeddings import write_embedding

    train, kind = canonical.read(job.inputs["train"]), job.options["kind"]
    split = read_split(job.inputs["split"])
    targets = {target for part in ("train", "val", "test") for label in split[part] for target in targets_of(label)}
    labels = [str(gene) for gene in train.var_names] if kind == "gene" else [CONTROL, *sorted(targets)]
    table = implemented(guarded_hooks(job, phases), "embed", job)(
        name=job.name, kind=kind, source=job.inputs.get("source"), train=train, references=_references(job),
        labels=labels, files=job.files(), params=job.params, device=job.device, seed=job.seed,
        workdir=folder.parent / SCRATCH,
    )  # fmt: skip
    write_embedding(table, folder / EMBEDDING)
    # The control needs none: models know what to make of it.
    without = [label for label in labels if label not in table.index and label != CONTROL]
    known = f"{len(without)} of {len(set(labels) - {CONTROL})} labels have no embedding"
    return Result([EMBEDDING], notes=[known] if without else [])


def _predictions(job: Job, folder: Path, phases: list[Phase]) -> Result:
    from pertharness.contract.predictions import make_prediction
    from pertharness.data import canonical
    from pertharness.data.halves import predict_duplicate
    from pertharness.worker.prediction_checks import as_matrix, describe_negative_values

    train = canonical.read(job.inputs["train"])
    controls = canonical.select(train, [CONTROL])
    split = read_split(job.inputs["split"])
    queries = [query for part in job.options["score_on"] for query in split[part]]
    notes: list[str] = []
    if "halves" in job.inputs:  # the technical duplicate; no model's job names them
        prediction = predict_duplicate(canonical.read(job.inputs["halves"]), queries, controls.var_names)
    elif "file" in job.inputs:
        prediction, notes = _read_file(job, controls, queries)
    else:
        prediction = _fit_and_predict(job, folder, phases, train, controls, queries)
    unanswered = {str(query): str(reason) for query, reason in prediction.uns.get("unanswered", {}).items()}
    notes += [*prediction.uns.get("notes", []), *describe_negative_values(prediction)]
    missing = prediction.uns.get("missing_genes", {})
    if missing:
        first, reason = next(iter(missing.items()))
        notes.append(f"{len(missing)} of {controls.n_vars} genes are not predicted (first: {first!r}: {reason})")
    answers = zip(prediction.obs["perturbation"].astype(str), as_matrix(prediction), strict=True)
    bare = make_prediction(dict(answers), controls.var_names)  # nothing else that a plugin may have put there
    canonical.write(bare, folder / PREDICTION)
    return Result([PREDICTION], notes=notes, unanswered=unanswered)


def _read_file(job: Job, controls: AnnData, queries: list[str]) -> tuple[AnnData, list[str]]:
    """Return a prediction that was made elsewhere, its labels read as those of the dataset are."""
    from pertharness.data import canonical
    from pertharness.worker.external.file import FileChoices
    from pertharness.worker.external.read import read_prediction

    split = read_split(job.inputs["split"])
    ids = controls.var.get("ensembl_id", [])
    return read_prediction(
        job.inputs["file"], controls.var_names, queries,
        {label: perturbation for perturbation, label in _labels_given(job.inputs["split"]).items()},
        y0=canonical.control_mean(controls),
        choices=FileChoices(kind=job.options.get("prediction_kind"), **job.options.get("prediction_columns", {})),
        ensembl_ids=dict(zip(map(str, ids), controls.var_names, strict=False)),
        perturbations=[label for part in ("train", "val", "test", "dropped") for label in split.get(part, ())],
        params=job.options.get("dataset_params", {}),
    )  # fmt: skip


def _fit_and_predict(
    job: Job, folder: Path, phases: list[Phase], train: AnnData, controls: AnnData, queries: list[str]
) -> AnnData:
    from pertharness.data import canonical
    from pertharness.data.embeddings import read_embedding

    hooks = guarded_hooks(job, phases)
    fit, predict = implemented(hooks, "fit", job), implemented(hooks, "predict", job)
    task = _known_task(job, train)
    val = canonical.read(job.inputs["val"]) if "val" in job.inputs and job.inputs["val"].exists() else None
    embeddings = {slot: read_embedding(path) for slot, path in job.embeddings.items()}
    model = fit(
        name=job.name, train=train, val=val, task=task, embeddings=embeddings, references=_references(job),
        files=job.files(), params=job.params, device=job.device, seed=job.seed, workdir=folder.parent / SCRATCH,
    )  # fmt: skip
    return predict(
        name=job.name, model=model, controls=controls, queries=list(queries), oracle=None, task=task,
        device=job.device, seed=job.seed, workdir=folder.parent / SCRATCH,
    )  # fmt: skip


def _scores(job: Job, folder: Path, phases: list[Phase]) -> Result:
    from pertharness.contract.cards import ScorerOffer
    from pertharness.worker.observed import forget_given, read_observed, read_predicted
    from pertharness.worker.prediction_checks import check_genes
    from pertharness.worker.score_checks import check_artefacts, check_scores

    observed = read_observed(job)
    truth, queries = observed.truth, list(observed.queries)
    predicted = read_predicted(job.inputs["prediction"])
    prediction, known = predicted.prediction, {**observed.digests, "prediction": predicted.digest}
    if "lacking" in job.options:
        truth.var["common"] = ~truth.var_names.isin(job.options["lacking"])
        del known["truth"]
    if truth.n_obs < len(queries):  # some are not there in two halves
        queries = list(truth.obs["perturbation"].astype(str))
        prediction = prediction[prediction.obs["perturbation"].isin(queries).to_numpy()].copy()
        del known["prediction"]
    check_genes(prediction.var_names, truth.var_names, lambda what: DataError(f"{job.inputs['prediction']}: {what}"))
    answered = set(prediction.obs["perturbation"])
    forget_given()
    given = implemented(guarded_hooks(job, phases, known), "score", job)(
        name=job.name, truth=truth, prediction=prediction, controls=observed.controls, train=observed.train,
        screen=observed.screen, references=_references(job), task=_known_task(job, observed.train), params=job.params,
        seed=job.seed,
    )  # fmt: skip
    offer = ScorerOffer.model_validate(job.options["offer"])
    table = check_scores(given, offer, queries, job.plugin.name)
    extras = check_artefacts(given, offer, job.plugin.name)
    if unanswered := set(queries) - answered:
        silent = table["perturbation"].isin(unanswered) & table["value"].notna()
        if silent.any():
            first = table.loc[silent, "perturbation"].iloc[0]
            raise ContractError(
                f"plugin {job.plugin.name!r}, hook score({job.name!r}): a value for {first!r}, which the model did "
                "not answer; leave such queries out"
            )
    table.to_csv(folder / SCORES, index=False)
    names = [SCORES]
    for name, extra in extras.items() if "against" not in job.options else ():  # only scores have a position
        extra.to_csv(folder / f"{name}.csv", index=False)
        names.append(f"{name}.csv")
    return Result(names)


def _labels_given(path: Path) -> dict[str, str]:
    """Return the labels as the dataset spells them, of the perturbations where that is another spelling."""
    given: dict[str, str] = json.loads(path.read_text(encoding="utf-8")).get("labels_given", {})
    return given


def _references(job: Job) -> dict[str, AnnData]:
    from pertharness.data import canonical

    return {name: canonical.read(path) for name, path in job.references.items()}


def _known_task(job: Job, train: AnnData) -> Task:
    """Return the task with what the dataset itself says of modality and context."""
    if job.task is None:
        raise ContractError(f"the job {job.key!r} has no task")
    fields = train.uns.get("pertharness", {})
    contexts = train.obs["context"].unique() if "context" in train.obs else []
    context = str(contexts[0]) if len(contexts) else None
    return job.task.model_copy(update={"modality": fields.get("modality"), "context": context})


STAGES: dict[str, Callable[[Job, Path, list[Phase]], Result] | str] = {
    "cards": _cards, "datasets": _datasets, "splits": _splits, "halves": _halves, "embeddings": _embeddings,
    "predictions": _predictions, "scores": _scores, "checks": "pertharness.testing.checks:run_check_job",
}  # fmt: skip
"""Stage -> the function that carries it out; of a stage that another package brings, its entry point."""
