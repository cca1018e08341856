"""Checks of a model on planted data, one task at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pertharness.contract.errors import ContractError
from pertharness.contract.labels import join_targets
from pertharness.testing.fresh import check_kept_nothing
from pertharness.testing.gene_order import check_gene_order
from pertharness.testing.model_trial import (
    OTHER_SCREEN,
    OTHER_SEED,
    SEED,
    TOLERANCE,
    Answer,
    ModelTrial,
    largest_difference,
    shuffle_rows,
)
from pertharness.testing.planted import SINGLES, UNSEEN, pose
from pertharness.testing.saved_models import check_saved_model
from pertharness.testing.subject import private_folders, working_folder
from pertharness.worker import prediction_checks

FLOOR = -1.0
"""Lowest accepted value; linear models may predict values a little below 0."""
MEAN_SHARE = 1 / 3
"""Largest relative difference of the mean prediction from the mean control: planted effects give 0.1, log2 0.44."""


def check_answers(trial: ModelTrial) -> None:
    """The model fits, and answers at least one query of a task on its card."""
    answer = trial.raw()
    if not answer.prediction.n_obs:
        reasons = dict(answer.prediction.uns.get("unanswered", {}))
        raise ContractError(
            f"no query of the task {trial.posed.task.name!r} is answered ({reasons}); leave the task out of the card, "
            "or answer it"
        )


def check_queries(trial: ModelTrial) -> None:
    """Each query is answered once, or declined with a reason; no other label is in the answer."""
    answer = trial.raw()
    prediction_checks.check_queries(answer.prediction, answer.queries, trial.refuse)


def check_genes(trial: ModelTrial) -> None:
    """The answer has the genes of the controls, in the same order."""
    answer = trial.raw()
    prediction_checks.check_genes(answer.prediction.var_names, answer.controls.var_names, trial.refuse)


def check_finite(trial: ModelTrial) -> None:
    """All values are finite, except for whole genes that are declared as not predicted, with the reason."""
    prediction_checks.check_values(trial.raw().prediction, trial.refuse)


def check_inputs_unchanged(trial: ModelTrial) -> None:
    """The hooks do not change their inputs: data, embeddings, references, queries and parameters."""
    if changed := trial.raw().changed:
        raise ContractError(f"{' and '.join(changed)} changed; work on a copy, e.g. train = train.copy()")


def check_scale(trial: ModelTrial) -> None:
    """Predictions are means of log1p of counts per 10 000: in range, and near the controls on average."""
    from pertharness.data.canonical import control_mean

    answer = trial.formed()
    prediction_checks.check_bounds(answer.prediction, trial.refuse)
    values = np.array(list(answer.means().values()))
    y0 = control_mean(trial.posed.controls)
    low, high, mean = np.nanmin(values), np.nanmax(values), np.nanmean(values)
    if low < FLOOR:
        raise ContractError(
            f"predictions reach from {low:.3g} to {high:.3g}; expected log1p of counts per 10 000, from 0 to 9.21"
        )
    if abs(mean - y0.mean()) > MEAN_SHARE * y0.mean():
        raise ContractError(
            f"the mean prediction is {mean:.3g}, that of the controls {y0.mean():.3g}; expected expression, log1p of "
            "counts per 10 000: not the change from control, not counts, not scaled values"
        )


def check_same_seed(trial: ModelTrial) -> None:
    """The same seed gives the same answer."""
    first, second = trial.sound().means(), trial.answer().means()
    difference = largest_difference(first, second)
    if set(first) != set(second) or difference > TOLERANCE:
        raise ContractError(
            f"two runs with seed {SEED} differ by up to {difference:.2g}; draw from a generator made of the argument "
            "'seed' alone, e.g. numpy.random.default_rng(seed)"
        )


def check_another_seed(trial: ModelTrial) -> None:
    """Another seed also gives an answer: the same one if the card says deterministic."""
    difference = largest_difference(trial.sound().means(), trial.other().means())
    if trial.offer.deterministic and difference > TOLERANCE:
        raise ContractError(f"the card says deterministic, and another seed changes the answer by {difference:.2g}")


def check_no_state(trial: ModelTrial) -> None:
    """A fit gives the same answer after another fit in the same process: no state is kept in a module."""

    def difference(first: Answer, second: Answer) -> str:
        means = first.means(), second.means()
        if set(means[0]) != set(means[1]):
            return "other queries are answered"
        largest = largest_difference(*means)
        return f"the answers differ by up to {largest:.2g}" if largest > TOLERANCE else ""

    screen = pose(trial.posed.task.name, trial.offer.input, seed=OTHER_SCREEN)
    others = [lambda params: trial.answer(screen, seed=OTHER_SEED, params=params)]
    if trial.offer.cheap:  # only one other call for models that take minutes
        others.append(lambda params: trial.answer(params=params))
    module, params = trial.subject.ref.module, trial.offer.params
    check_kept_nothing(module, trial.sound(), trial.answer, others, difference, params)


def check_shuffled_cells(trial: ModelTrial) -> None:
    """The order of the training data's rows does not matter."""
    trial.within(trial.sound(), trial.answer(shuffle_rows(trial.posed)), "training rows in another order")


def check_one_query(trial: ModelTrial) -> None:
    """A query gets the same answer alone as among others."""
    query = next(iter(trial.sound().means()))
    trial.within(trial.sound(), trial.answer(queries=[query]), "one query alone")


def check_query_order(trial: ModelTrial) -> None:
    """The order of the queries does not matter."""
    trial.within(trial.sound(), trial.answer(queries=trial.posed.queries[::-1]), "queries in another order")


def check_unseen_gene(trial: ModelTrial) -> None:
    """A perturbation of an unknown gene is answered, or declined with a reason; the others are answered."""
    trial.sound()
    targets = [SINGLES[0], UNSEEN] if trial.posed.task.name == "double" else [UNSEEN]
    queries = [*trial.posed.queries, join_targets(targets)]
    if not set(trial.answer(queries=queries).means()) & set(trial.posed.queries):
        raise ContractError(f"with the query {queries[-1]!r} among them, no query is answered any more")


def check_own_folder(trial: ModelTrial) -> None:
    """No file is written outside the folder of the job: not to the home, temporary or package folders."""
    import importlib.util

    spec = importlib.util.find_spec(trial.subject.ref.module)
    package = [Path(location) for location in (spec.submodule_search_locations if spec else None) or []]
    before = _files(package)
    trial.sound()
    with working_folder() as folder, private_folders(folder) as folders:
        files_before = _files([folder])
        trial.answer()
        # Other packages write caches and settings to these folders by convention (fonts, compiled code).
        new_files = {path for path in _files([folder]) - files_before if not {".cache", ".config"} & {*path.parts}}
        inside = {path for path in new_files if path.relative_to(folder).parts[0].startswith("check-")}
    outside = sorted((new_files - inside) | (_files(package) - before))
    if outside:
        home = {path: name for name, path in folders.items()}
        where = next((name for path, name in home.items() if outside[0].is_relative_to(path)), str(outside[0].parent))
        raise ContractError(
            f"{len(outside)} files were left outside the job's folder (first: {outside[0].name!r} in {where}); "
            "write to 'workdir', and remove temporary files"
        )


def _files(folders: list[Path]) -> set[Path]:
    return {
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }


def check_without_val(trial: ModelTrial) -> None:
    """The model also fits without validation data, since a split may have none."""
    trial.sound()
    trial.answer(val=False)


def check_without_oracle(trial: ModelTrial) -> None:
    """Without its oracle, the model raises an error that names it: it neither needs nothing nor breaks in silence."""
    trial.sound()
    try:
        trial.answer(with_oracle=False)
    except ContractError:
        raise
    except Exception as error:
        if "oracle" not in str(error):
            raise ContractError(
                f"without an oracle it raises {type(error).__name__}: {error}; raise an error that names the argument "
                "'oracle', or pertharness.Skip"
            ) from error
        return
    raise ContractError(
        "it answers without its oracle, as with it; remove 'oracle' from the card, or raise an error if it is None"
    )


MODEL_CHECKS: dict[str, Callable[[ModelTrial], None]] = {
    "answers": check_answers, "queries": check_queries, "genes": check_genes, "finite": check_finite,
    "inputs_unchanged": check_inputs_unchanged, "scale": check_scale, "same_seed": check_same_seed,
    "another_seed": check_another_seed, "no_state": check_no_state, "shuffled_cells": check_shuffled_cells,
    "gene_order": check_gene_order, "one_query": check_one_query, "query_order": check_query_order,
    "unseen_gene": check_unseen_gene, "own_folder": check_own_folder, "without_val": check_without_val,
    "saved_model": check_saved_model, "without_oracle": check_without_oracle,
}  # fmt: skip
