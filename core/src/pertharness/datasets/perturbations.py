"""Turn ``obs`` and ``var`` of a file into named genes and labelled rows, with notes on what was done and left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.labels import CONTROL, SEPARATOR, targets_of
from pertharness.datasets.genes import name_genes
from pertharness.datasets.labelling import Labelling, find_labelling, labels_in
from pertharness.datasets.options import FileOptions
from pertharness.datasets.separators import quote
from pertharness.datasets.targets import describe_targets, names_by_column

if TYPE_CHECKING:
    import pandas as pd


def read_names(
    var: pd.DataFrame, obs: pd.DataFrame, options: FileOptions, notes: list[str]
) -> tuple[pd.DataFrame, Labelling]:
    """Return ``var`` in the canonical form, and how the labels are read.

    These depend on each other: if genes are named by ids, their symbols come from the column that has the targets.

    Parameters
    ----------
    var, obs
        Tables of the file; `obs` with the rows of one context.
    options
        The user's options.
    notes
        Receives lines on what was done.

    Raises
    ------
    DataError
        If the names of genes or perturbations are unclear; the message names the flag to use.
    """
    of_genes: list[str] = []
    named = name_genes(var, options, of_genes)
    labelling = _read_labels(var, named, obs, options)
    if labelling.gene_column is not None:
        of_genes = []
        named = name_genes(var, options.model_copy(update={"gene_column": labelling.gene_column}), of_genes)
        labelling = _read_labels(var, named, obs, options)
    notes += [*of_genes, *labelling.notes]
    return named, labelling


def _read_labels(var: pd.DataFrame, named: pd.DataFrame, obs: pd.DataFrame, options: FileOptions) -> Labelling:
    symbols = [str(symbol) for symbol in named.index]
    return find_labelling(obs, set(symbols), options, names_by_column(var, symbols, options.target_column))


def keep_labelled(obs: pd.DataFrame, rows: np.ndarray, labelling: Labelling, notes: list[str]) -> np.ndarray:
    """Return the rows with known perturbations, and note how many rows are left out and why.

    Parameters
    ----------
    obs
        Table of the file.
    rows
        Indices of the rows of `obs` in use, ascending.
    """
    if not labelling.left_out:
        return rows
    labels = labels_in(obs.iloc[rows], labelling.column)
    counts = labels[labels.isin(list(labelling.left_out))].value_counts()
    for reason in dict.fromkeys(labelling.left_out.values()):
        names = [label for label, why in labelling.left_out.items() if why == reason]
        n_rows = int(sum(counts[name] for name in names))
        labelled = [f"labelled {quote(filter(None, names))}"] if any(names) else []
        labelled += ["without a label"] if "" in names else []
        notes.append(f"left out: {n_rows} rows {' or '.join(labelled)}: {reason}")
    labelled_rows: np.ndarray = rows[labels.isin(list(labelling.mapping)).to_numpy()]
    return labelled_rows


def label_rows(file_obs: pd.DataFrame, labelling: Labelling, notes: list[str]) -> pd.DataFrame:
    """Return ``obs`` with the canonical labels and the labels in the file, and add notes on the labels."""
    import pandas as pd

    labels = labels_in(file_obs, labelling.column)
    first: dict[str, str] = {}
    for label, canonical in labelling.mapping.items():
        first.setdefault(canonical, label)
    perturbations = labels.map(labelling.mapping)
    obs: pd.DataFrame = pd.DataFrame(index=pd.Index(file_obs.index.astype(str).to_numpy(dtype=object), dtype=object))
    obs["perturbation"] = categorical(perturbations)
    # Pooled labels share one label in the file, because published split rules sort by it.
    obs["label_given"] = categorical(perturbations.map(first))
    if labelling.genes:
        obs["genes"] = categorical(perturbations.map({label: labelling.genes.get(label, label) for label in first}))
    joined = repr(labelling.separator) if labelling.separator else "nothing"
    several = f" ({len(labelling.controls)} labels, pooled)" if len(labelling.controls) > 1 else ""
    notes.append(
        f"labels: obs[{labelling.column!r}], control {quote(labelling.controls)}{several}, targets joined by {joined}, "
        f"{len(first) - 1} perturbations and the control"
    )
    pooled = [
        label for label, canonical in labelling.mapping.items()
        if canonical != CONTROL and first[canonical] != label and label not in labelling.of_guides
    ]  # fmt: skip
    if pooled:
        notes.append(f"labels: pooled with another spelling of the same targets: {quote(pooled, 20)}")
    return obs


def note_perturbations(perturbations: pd.Series, labelling: Labelling, genes: Collection[str]) -> list[str]:
    """Return notes on targets that are genes, perturbations without splits or scores, and doubles without singles.

    Parameters
    ----------
    perturbations
        Canonical label of each row.
    genes
        Genes of the dataset.
    """
    counts = perturbations[(perturbations != CONTROL).to_numpy()].value_counts()
    distinct = [str(label) for label in perturbations.unique() if label != CONTROL]
    of_genes = [targets_of(labelling.genes.get(label, label)) for label in distinct]
    lines = describe_targets([target for targets in of_genes for target in targets], genes)
    larger = [label for label, targets in zip(distinct, of_genes, strict=True) if len(targets) > 2]
    if larger:
        lines.append(
            f"left out: {len(larger)} perturbations of three or more targets ({quote(larger, 3)}): "
            "no split holds them out, since the rules know singles and doubles only"
        )
    few = [label for label in distinct if counts[label] == 1]
    if 0 < len(few) < len(distinct):  # otherwise the rows are means
        lines.append(
            f"left out: {len(few)} perturbations of one cell ({quote(few, 3)}) in calibrations and in all scores that "
            "need the halves of their cells or a variance"
        )
    return [*lines, *_describe_doubles(distinct)]


def _describe_doubles(distinct: Collection[str]) -> list[str]:
    """Return a note on doubles that lack one of their singles, so that effects cannot be added."""
    singles = {label for label in distinct if SEPARATOR not in label}
    doubles = [label for label in distinct if label.count(SEPARATOR) == 1]
    lacking = [label for label in doubles if not singles.issuperset(targets_of(label))]
    if not lacking:
        return []
    return [
        f"doubles: {len(lacking)} of {len(doubles)} lack one of their singles ({quote(lacking, 3)}), so that "
        f"'additive' can answer {len(doubles) - len(lacking)} of {len(doubles)} at most"
    ]


def categorical(values: Iterable[str]) -> pd.Categorical:
    """Return a categorical of texts that all supported versions of pandas write in the same way."""
    import pandas as pd

    return pd.Categorical(np.asarray(values, dtype=object))
