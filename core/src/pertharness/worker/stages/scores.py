"""The stage ``scores``: score a prediction on all cells, on half of them, or on the genes of all models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pertharness.contract.errors import ContractError, DataError
from pertharness.contract.options import ScoreKind, ScoreOptions, kind_of_score, options_of
from pertharness.contract.stages import SCORES
from pertharness.worker.hooks import guarded_hooks, implemented
from pertharness.worker.stages.job_data import describe_task, read_references
from pertharness.worker.stages.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from pertharness.contract.jobs import Job, Phase
    from pertharness.worker.observed import Observed


@dataclass(frozen=True)
class ScorerInputs:
    """The data that a scorer compares.

    Attributes
    ----------
    truth
        Observed means of the queries, shape (n_queries, n_genes), log1p CP10k.
    prediction
        Predicted means of the answered queries, shape (n_answered, n_genes), the same scale.
    digests
        Of the arguments by name that are the same for all score jobs of the process, taken before any scorer saw them.
    """

    truth: AnnData
    prediction: AnnData
    queries: tuple[str, ...]
    digests: Mapping[str, str]


def write_scores(job: Job, folder: Path, phases: list[Phase]) -> Result:
    """Write the scores of a prediction, and the scorer's tables."""
    from pertharness.worker.observed import forget_given, read_observed, read_predicted
    from pertharness.worker.prediction_checks import check_genes
    from pertharness.worker.score_checks import check_artefacts, check_scores

    options = options_of(job, ScoreOptions)
    observed, predicted = read_observed(job), read_predicted(job.inputs["prediction"])
    digests = {**observed.digests, "prediction": predicted.digest}
    whole = _of_queries(ScorerInputs(observed.truth, predicted.prediction, observed.queries, digests))
    compared = _KINDS[kind_of_score(options)](whole, options)
    genes = compared.prediction.var_names, compared.truth.var_names
    check_genes(*genes, lambda problem: DataError(f"{job.inputs['prediction']}: {problem}"))
    forget_given()
    answer = _score(job, phases, observed, compared)
    table = check_scores(answer, options.offer, list(compared.queries), job.plugin.name)
    extras = check_artefacts(answer, options.offer, job.plugin.name)
    _check_unanswered(table, compared, job)
    table.to_csv(folder / SCORES, index=False)
    names = [SCORES]
    for name, extra in extras.items() if options.against is None else ():  # only scores have a position
        extra.to_csv(folder / f"{name}.csv", index=False)
        names.append(f"{name}.csv")
    return Result(names)


def _score(job: Job, phases: list[Phase], observed: Observed, compared: ScorerInputs) -> object:
    """Return the scorer's result."""
    answer: object = implemented(guarded_hooks(job, phases, compared.digests), "score", job)(
        name=job.name, truth=compared.truth, prediction=compared.prediction, controls=observed.controls,
        train=observed.train, screen=observed.screen, references=read_references(job),
        task=describe_task(job, observed.train), params=job.params, seed=job.seed,
    )  # fmt: skip
    return answer


def _of_queries(whole: ScorerInputs) -> ScorerInputs:
    """Leave out predictions of other parts of the split: candidates of a grid always predict val."""
    is_asked = whole.prediction.obs["perturbation"].isin(whole.queries).to_numpy()
    if is_asked.all():
        return whole
    return replace(whole, prediction=whole.prediction[is_asked].copy(), digests=_without(whole.digests, "prediction"))


def _against_all(whole: ScorerInputs, options: ScoreOptions) -> ScorerInputs:
    """Compare with all cells."""
    return whole


def _against_half(whole: ScorerInputs, options: ScoreOptions) -> ScorerInputs:
    """Compare with the second halves of the cells, for queries with two halves."""
    if whole.truth.n_obs == len(whole.queries):
        return whole
    queries = tuple(whole.truth.obs["perturbation"].astype(str))
    prediction = whole.prediction[whole.prediction.obs["perturbation"].isin(queries).to_numpy()].copy()
    return replace(whole, prediction=prediction, queries=queries, digests=_without(whole.digests, "prediction"))


def _over_common_genes(whole: ScorerInputs, options: ScoreOptions) -> ScorerInputs:
    """Mark the genes that all compared models predict."""
    whole.truth.var["common"] = ~whole.truth.var_names.isin(list(options.lacking or ()))
    return replace(whole, digests=_without(whole.digests, "truth"))


_KINDS: dict[ScoreKind, Callable[[ScorerInputs, ScoreOptions], ScorerInputs]] = {
    "all": _against_all, "half": _against_half, "common-genes": _over_common_genes,
}  # fmt: skip


def _without(digests: Mapping[str, str], name: str) -> dict[str, str]:
    return {argument: digest for argument, digest in digests.items() if argument != name}


def _check_unanswered(table: pd.DataFrame, compared: ScorerInputs, job: Job) -> None:
    """Raise an error for scores of queries that the model did not answer."""
    unanswered = set(compared.queries) - set(compared.prediction.obs["perturbation"])
    silent = table["perturbation"].isin(unanswered) & table["value"].notna()
    if silent.any():
        first = table.loc[silent, "perturbation"].iloc[0]
        raise ContractError(
            f"plugin {job.plugin.name!r}, hook score({job.name!r}): a value for {first!r}, which the model did "
            "not answer; leave such queries out"
        )
