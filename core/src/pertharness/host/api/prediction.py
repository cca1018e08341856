"""What a model expects of perturbations that were never measured, from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import RecipeError
from pertharness.host.api.arguments import (
    RETRIED,
    as_path,
    as_texts,
    check_words,
    chosen_resources,
    open_store,
    output_file,
    several,
)
from pertharness.host.api.inputs import name_screen, own_params, write_data
from pertharness.host.api.progress import make_reporter
from pertharness.host.run.predict import PredictRequest
from pertharness.host.run.predict import predict as predict_queries
from pertharness.host.run.prediction_output import as_adata, write_prediction
from pertharness.host.run.query_labels import split_queries

if TYPE_CHECKING:
    from anndata import AnnData

    from pertharness.host.api.inputs import Data


def predict(
    model: str = "", data: Data | None = None, queries: str | Path | Iterable[str] = (), *, model_record: str = "",
    seeds: str | int | Sequence[int] | None = None, errors: bool = True, store: str | Path | None = None,
    out: str | Path | None = None, retry: str | Sequence[str] = (), jobs: int | None = None,
    threads: int | None = None, timeout_s: float | None = None, memory_mb: float | None = None,
    device: str | None = None, isolation: str | None = None, progress: bool = True, **params: Any,
) -> AnnData:  # fmt: skip
    """Fit a model to all of a screen and predict perturbations, whether or not they were measured.

    Parameters
    ----------
    model
        Such as ``linear`` or ``linear[k=4]``; may be left out with `model_record`.
    data
        The screen: a path, the name of a dataset on offer, or an AnnData; may be left out with `model_record`.
    queries
        Perturbations, such as ``["KLF1", "CEBPE+KLF1"]``; as text, separated by commas, or the path of a file with one
        per line. The order of targets does not matter, nor does case where only one gene is meant.
    model_record
        Key of the record of an earlier prediction, or its beginning: its model predicts, without another fit.
    seeds
        Split seeds of the errors; by default 1 to 5.
    errors
        Benchmark the model and the usual baseline on the screen, on the tasks that the queries pose.
    store
        Folder of the records; by default ``PERTHARNESS_STORE``, else the user's data folder.
    out
        The h5ad to write; by default none.
    retry
        States of records to make again: ``failed``, ``invalid``, ``timeout``, ``crashed``, ``skipped``.
    jobs
        Worker processes at a time; by default as many as there are cores.
    threads, timeout_s, memory_mb, device, isolation
        What each job may use: see the recipe's ``resources``.
    progress
        Show a bar in a notebook or on a terminal.
    **params
        How `data` are read, such as ``label_column="condition"``: see ``docs/screen.md``.

    Returns
    -------
    AnnData
        Shape (n_answered, n_genes), float64, log1p of counts per 10 000; ``obs["perturbation"]``, ``obs["measured"]``;
        ``uns["pertharness"]``: model, record, what is ``unanswered`` and why, and the ``errors``.

    Raises
    ------
    RecipeError
        If the model, a query or an argument cannot be used, with what was expected.
    DataError
        If the data cannot be loaded or a job failed, with the reason.

    Examples
    --------
    >>> import pertharness as ph
    >>> predicted = ph.predict("additive", "screen.h5ad", ["KLF1+CEBPE"])  # doctest: +SKIP
    >>> predicted.uns["pertharness"]["errors"]  # doctest: +SKIP
    """
    for argument, value in (("model", model), ("model_record", model_record)):
        if not isinstance(value, str):
            raise RecipeError(f"{argument} is {value!r:.80}; expected a text")
    resources = chosen_resources(
        jobs=jobs, threads=threads, timeout_s=timeout_s, memory_mb=memory_mb, device=device, isolation=isolation
    )
    path = None if out is None else output_file(out)
    named = {} if data is None else name_screen(data)
    texts = as_texts("queries", str(as_path("queries", queries)) if isinstance(queries, Path) else queries) or ()
    query_texts = split_queries([texts] if isinstance(texts, str) else texts)
    with tempfile.TemporaryDirectory(prefix="pertharness-") as temporary:
        files = write_data(named, Path(temporary))
        own = own_params(named)
        name = next(iter(named), "")
        request = PredictRequest(
            query_texts, model, files.get(name), {**own.get(name, {}), **params}, model_record, several(seeds), errors,
            resources, frozenset(check_words("retry", retry, RETRIED)),
        )  # fmt: skip
        adata = as_adata(predict_queries(request, open_store(store), make_reporter(progress=progress)))
    if path is not None:
        write_prediction(adata, path)
    return adata
