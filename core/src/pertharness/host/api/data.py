"""Datasets and splits from Python."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import DataError, RecipeError
from pertharness.contract.stages import DATASET
from pertharness.host.api.arguments import as_path, open_store
from pertharness.host.api.inputs import canonical_params, file_of, is_adata
from pertharness.host.api.progress import make_reporter
from pertharness.host.run.load import load_record
from pertharness.host.splits import Labelled, Split
from pertharness.host.splits import make_split as draw_split

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def load_dataset(
    data: str | Path | AnnData, *, store: str | Path | None = None, progress: bool = True, **params: Any
) -> AnnData:
    """Return a dataset in the canonical form: labels, genes and values as all models and scores use them.

    It is loaded by the same isolated job as in a run, kept in the store, and read from there.

    Parameters
    ----------
    data
        Path of a file, the name of a dataset on offer such as ``demo``, or an AnnData.
    store
        Folder of the records; by default ``PERTHARNESS_STORE``, else the user's data folder.
    progress
        Show downloads and how the file was understood, in a notebook or on a terminal.
    **params
        How a file is read, such as ``label_column="condition"``: see ``docs/screen.md``. Of a dataset on offer its own
        parameters.

    Returns
    -------
    AnnData
        Shape (n_cells or n_perturbations, n_genes), ``X`` float32, log1p of counts per 10 000; ``obs["perturbation"]``:
        ``control``, ``KLF1``, ``CEBPE+KLF1``; ``uns["pertharness"]``: name, level, how the file was understood.

    Raises
    ------
    RecipeError
        If there is no such file or dataset, or the file leaves a choice, with the parameter that decides it.
    DataError
        If it cannot be used, with the reason.
    """
    from pertharness.data.expression import read

    reporter = make_reporter(progress=progress)
    with tempfile.TemporaryDirectory(prefix="pertharness-") as temporary:
        if is_adata(data):
            params = {**canonical_params(data), **params}
            data = file_of(data, Path(temporary), "data")
        elif not isinstance(data, str):
            data = as_path("data", data)
        with load_record(data, params, open_store(store), reporter) as record:
            for note in record.notes:
                reporter.note(note)
            return read(record.folder / DATASET)


def make_split(
    data: AnnData | str | Path, kind: str, seed: int = 1, *, variant: str | None = None, folds: int | None = None,
    store: str | Path | None = None, progress: bool = True, **params: Any,
) -> Split:  # fmt: skip
    """Draw a split of a dataset's perturbations into train, val and test.

    Parameters
    ----------
    data
        What `load_dataset` returned; or a path or a name, which is loaded first.
    kind
        ``double``, ``simulation`` or ``unseen``: see ``docs/splits.md``.
    seed
        Split seed.
    variant
        Of the kind; by default its first.
    folds
        Number of folds of the kind ``unseen``.
    store, progress, **params
        As of `load_dataset`, where `data` is a path or a name.

    Returns
    -------
    Split
        With the lists ``train``, ``val`` and ``test``, and its ``hash``. `pertharness.run` and `pertharness.score` take
        it; ``split.model_dump_json()`` is the content of its file.

    Raises
    ------
    SplitError
        If there is no such kind, or the perturbations cannot be split so.
    DataError
        If an AnnData has not the canonical form.
    """
    if not is_adata(data):
        data = load_dataset(data, store=store, progress=progress, **params)
    elif params:
        raise RecipeError(f"make_split takes no {next(iter(params))!r} with an AnnData; pass it to load_dataset")
    labels, name = labels_of(data), str(data.uns["pertharness"].get("name", ""))
    numbers = {} if folds is None else {"folds": folds}
    return draw_split(labels, kind=kind, seed=seed, variant=variant, dataset=name, params=numbers)


def labels_of(adata: AnnData) -> list[Labelled]:
    """Return the labels of a dataset in the canonical form, in the order of their first appearance.

    Raises
    ------
    DataError
        If it has not the canonical form.
    """
    absent = [name for name in ("perturbation", "label_given") if name not in adata.obs]
    if absent or "pertharness" not in adata.uns:
        problem = f"obs has no column {absent[0]!r}" if absent else "uns has no 'pertharness'"
        raise DataError(f"this AnnData is not in the canonical form: {problem}; pass it to load_dataset first")
    first: pd.DataFrame = adata.obs.drop_duplicates("perturbation")
    genes = first["genes"].astype(str) if "genes" in first else [""] * len(first)
    rows = zip(first["perturbation"].astype(str), first["label_given"].astype(str), genes, strict=True)
    return [Labelled(label, original, of_genes if of_genes != label else "") for label, original, of_genes in rows]
