"""Predictions that were made elsewhere, scored from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pertharness.contract.errors import RecipeError
from pertharness.host.api.arguments import as_path, as_texts, check_words, open_store, output_folder
from pertharness.host.api.inputs import (
    INPUTS,
    file_of,
    is_adata,
    is_name,
    name_screen,
    own_params,
    split_file,
    write_data,
)
from pertharness.host.api.progress import make_reporter
from pertharness.host.api.results import load_run
from pertharness.host.run.prediction_files import check_prediction_file, with_predictions
from pertharness.host.run.prepare import prepare
from pertharness.host.run.quick import REFERENCES, SPLITS, task_of_split
from pertharness.host.run.recipes import Choices, choose_recipe

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from pertharness.host.api.inputs import Data
    from pertharness.host.splits import Split

    Predictions: TypeAlias = str | Path | AnnData


def score(
    predictions: Predictions | Mapping[str, Predictions], data: Data, split: str | Path | Split, *,
    name: str = "predictions", task: str | None = None, models: str | Sequence[str] | None = None,
    scorers: str | Sequence[str] | None = None, prediction_kind: str | None = None,
    prediction_label_column: str | None = None, prediction_gene_column: str | None = None,
    prediction_layer: str | None = None, store: str | Path | None = None, out: str | Path | None = None,
    jobs: int | None = None, progress: bool = True, **params: Any,
) -> pd.DataFrame:  # fmt: skip
    """Score predictions that were made elsewhere, beside the baseline that the task compares with.

    Parameters
    ----------
    predictions
        Path of an h5ad, or AnnData: a row per perturbation, or cells of it, ``X`` log1p of counts per 10 000; or a dict
        of several by name. Genes may come in any order; labels are read as those of the data. A held-out perturbation
        that is absent is counted as not answered, never filled.
    data
        The screen with the truth: a path, the name of a dataset on offer, or an AnnData such as `load_dataset` returns.
    split
        Path of a split's JSON, or what `make_split` returned.
    name
        Name of the predictions, where there is one of them.
    task
        ``double`` or ``single``; by default what the split holds out.
    models
        Models to score beside; by default the task's baseline, ``additive`` for doubles and ``mean`` for singles.
    scorers
        By default every installed one.
    prediction_kind
        ``mean`` or ``change``: what a row is; to a change the mean of the controls is added. By default a mean.
    prediction_label_column, prediction_gene_column, prediction_layer
        Where labels, genes and values of the predictions are, where that is not found without.
    store
        Folder of the records; by default ``PERTHARNESS_STORE``, else the user's data folder.
    out
        Folder of the run, with its leaderboard and report; by default none is kept.
    jobs
        Worker processes at a time; by default as many as there are cores.
    progress
        Show a bar in a notebook or on a terminal.
    **params
        How `data` are read: see ``docs/screen.md``.

    Returns
    -------
    DataFrame
        As `Run.scores`: one row per model, perturbation, metric and variant, with ``value`` and ``state``.

    Raises
    ------
    RecipeError
        If the predictions, the split or an argument cannot be used, with what was expected. No model runs before the
        predictions were checked.
    DataError
        If an AnnData cannot be written.
    """
    tasks = () if task is None else check_words("task", task, SPLITS)
    choices = {
        "kind": prediction_kind, "label_column": prediction_label_column, "gene_column": prediction_gene_column,
        "layer": prediction_layer,
    }  # fmt: skip
    reading = {key: value for key, value in choices.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="pertharness-") as temporary:
        folder = output_folder(out, Path(temporary))
        files = _write_predictions(predictions, name, folder / INPUTS / "predictions")
        for path in files.values():
            check_prediction_file(path, reading)
        named = name_screen(data)
        drawn = split_file(split, folder / INPUTS)
        baseline = [REFERENCES[tasks[0] if tasks else task_of_split(drawn)]]
        chosen = Choices(
            data=write_data(named, folder / INPUTS), tasks=tasks, split=drawn, params=params,
            own_params=own_params(named),
            models=baseline if models is None else as_texts("models", models), scorers=as_texts("scorers", scorers),
            resources={} if jobs is None else {"jobs": jobs},
        )  # fmt: skip
        recipe = with_predictions(choose_recipe(None, chosen), files, reading)
        reporter = make_reporter(progress=progress)
        prepared = prepare(recipe, open_store(store), reporter, named=models is not None)
        prepared.carry_out(folder, reporter, command=("pertharness.score",), files_first=True)
        return load_run(folder).scores


def _write_predictions(
    predictions: Predictions | Mapping[str, Predictions], name: str, folder: Path
) -> dict[str, Path]:
    """Return the files of predictions by name; what is in memory is written to `folder`.

    Raises
    ------
    RecipeError
        If there are none, or a name cannot be that of a model.
    DataError
        If an AnnData cannot be written.
    """
    named = predictions if isinstance(predictions, Mapping) else {name: predictions}
    if not named:
        raise RecipeError("predictions is empty; expected a path, an AnnData, or a dict of these by name")
    for key, value in named.items():
        if not is_name(key):
            raise RecipeError(f"predictions are named {key!r}; expected letters, digits, '_' and '-', a letter first")
        if not isinstance(value, str | Path) and not is_adata(value):
            raise RecipeError(f"predictions {key!r} are {type(value).__name__}; expected a path or an AnnData")
    return {
        key: file_of(value, folder, key) if is_adata(value) else as_path(f"predictions {key!r}", value)
        for key, value in named.items()
    }
