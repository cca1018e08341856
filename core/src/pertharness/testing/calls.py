"""Functions to call the hooks of a plugin from its tests, with defaults for all arguments."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from pertharness.contract import hookspecs
from pertharness.contract.cards import Card, EmbeddingOffer, ModelOffer, ScorerOffer
from pertharness.contract.jobs import Task
from pertharness.contract.protocol import PROJECT
from pertharness.data.oracle import observe_targets
from pertharness.testing.model_trial import planted_slots
from pertharness.testing.planted import planted_task, pose

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.contract.scores import Scores

SEED = 1


def call_fit(
    plugin: Any, train: AnnData | None = None, *, name: str | None = None, val: AnnData | None = None,
    task: Task | None = None, embeddings: Mapping[str, pd.DataFrame] | None = None,
    references: Mapping[str, AnnData] | None = None, files: Mapping[str, Path] | None = None,
    params: Mapping[str, Any] | None = None, device: str = "cpu", seed: int = SEED, workdir: Path | None = None,
) -> Any:  # fmt: skip
    """Call ``fit`` of a plugin and return the fitted model.

    Parameters
    ----------
    plugin
        Module of the plugin.
    train
        AnnData of shape (n_obs, n_genes), log1p of counts per 10 000; by default that of the card's first task on
        planted data, with its validation data, references, and embeddings for all slots.
    name
        Name of the offer; by default the only model of the card.
    val, references, embeddings
        None by default, if `train` is given.
    task
        Task to pass on; by default that of the planted data.
    files
        Weights and side files by name; none by default.
    params
        Parameters that differ from the card's.
    device, seed
        Passed on to the hook.
    workdir
        Folder to write to; by default a new one, which is removed at the end of the process.

    Returns
    -------
    object
        Result of ``fit``.

    Raises
    ------
    ValueError
        If the card has no such model, or several and `name` is not given.
    """
    offer: ModelOffer = _offer_of(plugin, "models", name)
    if train is None:
        posed = pose(offer.tasks[0], offer.input)
        train, val = posed.train, val or (posed.val if offer.uses_validation else None)
        embeddings = planted_slots(offer.slots) if embeddings is None else embeddings
        references = posed.references if references is None else references
    return _call(
        plugin, "fit", name=offer.name, train=train, val=val, task=task or _task_of(offer), embeddings=embeddings or {},
        references=references or {}, files=files or {}, params={**offer.params, **(params or {})}, device=device,
        seed=seed, workdir=workdir,
    )  # fmt: skip


def call_predict(
    plugin: Any, model: Any, controls: AnnData | None = None, queries: Sequence[str] | None = None, *,
    name: str | None = None, oracle: AnnData | None = None, task: Task | None = None, device: str = "cpu",
    seed: int = SEED, workdir: Path | None = None,
) -> AnnData:  # fmt: skip
    """Call ``predict`` of a plugin and return the prediction.

    Parameters
    ----------
    plugin
        Module of the plugin.
    model
        Result of ``fit``.
    controls
        AnnData of shape (n_controls, n_genes), log1p of counts per 10 000; by default those of the planted task.
    queries
        Perturbations to predict; by default those of the planted task.
    name, task, device, seed, workdir
        As for `call_fit`.
    oracle
        Observed values of the queries' cells; by default those of the planted task, without a gene list, if the card
        declares an oracle.

    Returns
    -------
    AnnData
        Shape (n_answered, n_genes), log1p of counts per 10 000.

    Raises
    ------
    ValueError
        As for `call_fit`.
    """
    offer: ModelOffer = _offer_of(plugin, "models", name)
    if controls is None or queries is None:
        posed = pose(offer.tasks[0], offer.input)
        controls = posed.controls if controls is None else controls
        queries = posed.queries if queries is None else queries
        oracle = observe_targets(posed.cells, queries) if oracle is None and offer.oracle else oracle
    prediction: AnnData = _call(
        plugin, "predict", name=offer.name, model=model, controls=controls, queries=list(queries), oracle=oracle,
        task=task or _task_of(offer),
        device=device, seed=seed, workdir=workdir,
    )  # fmt: skip
    return prediction


def call_embed(
    plugin: Any, train: AnnData | None = None, labels: Sequence[str] | None = None, *, name: str | None = None,
    kind: str | None = None, source: Path | None = None, references: Mapping[str, AnnData] | None = None,
    files: Mapping[str, Path] | None = None, params: Mapping[str, Any] | None = None, device: str = "cpu",
    seed: int = SEED, workdir: Path | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Call ``embed`` of a plugin and return the embedding.

    Parameters
    ----------
    plugin
        Module of the plugin.
    train
        AnnData of means, shape (n_perturbations, n_genes), log1p of counts per 10 000; by default planted data.
    labels
        Labels to embed; by default the genes of `train`, or its perturbations of one target, depending on `kind`.
    name
        Name of the offer; by default the only embedding of the card.
    kind
        ``"gene"`` or ``"perturbation"``; by default the first on the card.
    source
        Source file of the embedding; none by default.
    references, files, params, device, seed, workdir
        As for `call_fit`.

    Returns
    -------
    pandas.DataFrame
        A row per label that has one, a column per dimension.

    Raises
    ------
    ValueError
        If the card has no such embedding, or several and `name` is not given.
    """
    offer: EmbeddingOffer = _offer_of(plugin, "embeddings", name)
    kind = kind or offer.kinds[0]
    train = pose("double", "pseudobulk").train if train is None else train
    if labels is None:
        perturbations = [str(label) for label in train.obs["perturbation"] if "+" not in str(label)]
        labels = list(map(str, train.var_names)) if kind == "gene" else perturbations
    table: pd.DataFrame = _call(
        plugin, "embed", name=offer.name, kind=kind, source=source, train=train, references=references or {},
        labels=list(labels), files=files or {}, params={**offer.params, **(params or {})}, device=device, seed=seed,
        workdir=workdir,
    )  # fmt: skip
    return table


def call_score(
    plugin: Any, truth: AnnData, prediction: AnnData, *, name: str | None = None, controls: AnnData | None = None,
    train: AnnData | None = None, screen: AnnData | None = None, references: Mapping[str, AnnData] | None = None,
    task: Task | None = None, params: Mapping[str, Any] | None = None, seed: int = SEED,
) -> pd.DataFrame | Scores:  # fmt: skip
    """Call ``score`` of a plugin and return the scores.

    Parameters
    ----------
    plugin
        Module of the plugin.
    truth
        AnnData of observed means, shape (n_queries, n_genes), log1p of counts per 10 000.
    prediction
        AnnData of predicted means, shape (n_answered, n_genes), the same genes.
    name
        Name of the offer; by default the only scorer of the card.
    controls, train, screen
        AnnData of means with the same genes; required if the hook takes the argument.
    references, task, params, seed
        As for `call_fit`.

    Returns
    -------
    pandas.DataFrame or pertharness.contract.scores.Scores
        Result of ``score``.

    Raises
    ------
    ValueError
        If the card has no such scorer, or several and `name` is not given; or if the hook takes an argument that is
        missing.
    """
    offer: ScorerOffer = _offer_of(plugin, "scorers", name)
    caller = _caller_of(plugin, "score")
    data = {"controls": controls, "train": train, "screen": screen}
    for argument, value in data.items():
        if value is None and argument in caller.get_hookimpls()[0].argnames:
            raise ValueError(f"the hook score takes {argument!r}; give it, an AnnData of means with the genes of truth")
    scores: pd.DataFrame | Scores = caller(
        name=offer.name, truth=truth, prediction=prediction, references=references or {}, task=task or _task_of(offer),
        params={**offer.params, **(params or {})}, seed=seed, **data,
    )  # fmt: skip
    return scores


def _task_of(offer: ModelOffer | ScorerOffer) -> Task:
    """Return the first task of a card, on planted data."""
    return planted_task(offer.tasks[0])


def _offer_of(plugin: Any, kind: str, name: str | None) -> Any:
    """Return an offer of the plugin's card."""
    card: Card = _caller_of(plugin, "describe")()
    offers = {offer.name: offer for offer in getattr(card, kind)}
    if name is None and len(offers) == 1:
        return next(iter(offers.values()))
    if name not in offers:
        problem = f"{name!r} is not among" if name else "name one of"
        raise ValueError(f"{problem} the {kind} of the card: {', '.join(offers) or 'none'}")
    return offers[name]


def _caller_of(plugin: Any, hook: str) -> pluggy.HookCaller:
    """Return one hook of a plugin, without Guard and Meter."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    if not caller.get_hookimpls():
        raise ValueError(f"{plugin!r} has no hook {hook!r}; define the function and mark it with @pertharness.hookimpl")
    return caller


def _call(plugin: Any, hook: str, *, workdir: Path | None, **arguments: Any) -> Any:
    """Call a hook that writes to a folder."""
    caller = _caller_of(plugin, hook)
    if workdir is None and "workdir" in caller.get_hookimpls()[0].argnames:
        workdir = _new_folder()
    return caller(workdir=workdir, **arguments)


def _new_folder() -> Path:
    """Return a new folder, which exists until the process ends because a model may need its files."""
    folder = Path(tempfile.mkdtemp(prefix="pertharness-"))
    atexit.register(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    return folder
