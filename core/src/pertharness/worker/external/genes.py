"""Match the columns of a file of predictions to the genes of the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.datasets.genes import name_genes
from pertharness.datasets.options import FileOptions
from pertharness.datasets.targets import key_of_name
from pertharness.worker.external.file import GENE_FLAG, INDEX, FileChoices, PredictionFile, some

if TYPE_CHECKING:
    import pandas as pd

VAR_NAMES = "var_names"


@dataclass(frozen=True)
class Columns:
    """The columns of a file that have the genes of the dataset.

    Attributes
    ----------
    positions
        Column of each gene in the file, -1 if it is missing; shape (n_genes,).
    names
        Names of the file's columns, for messages; shape (n_columns,).
    note
        Remark on how the genes were matched; empty if ``var_names`` match exactly.
    twice
        Gene -> its first two columns, if several columns match it.
    """

    positions: np.ndarray
    names: Sequence[str]
    note: str = ""
    twice: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Number of genes of the dataset that are in the file."""
        return int((self.positions >= 0).sum())


def find_columns(file: PredictionFile, genes: pd.Index, ids: Mapping[str, str], choices: FileChoices) -> Columns:
    """Return the column of each gene.

    Parameters
    ----------
    genes
        Genes of the dataset.
    ids
        Other name, such as an Ensembl id without version -> gene.

    Raises
    ------
    DataError
        If the file has none of the genes, has one of them twice, or names different genes in two columns of ``var``.
    """
    matches = {
        name: columns for name in _gene_columns(file, choices) if (columns := _match(file, name, genes, ids)).number
    }
    if not matches:
        raise _no_match(file, genes, choices)
    best = max(matches, key=lambda name: matches[name].number)
    # var_names, which the documentation asks for, are used unless another column matches far more genes.
    if VAR_NAMES in matches and matches[VAR_NAMES].number * 2 >= matches[best].number:
        best = VAR_NAMES
    for name, columns in matches.items():
        both = (columns.positions >= 0) & (matches[best].positions >= 0)
        is_rival = best != VAR_NAMES and columns.number * 2 > matches[best].number
        if is_rival and (columns.positions != matches[best].positions)[both].any():
            gene = genes[int(np.argmax((columns.positions != matches[best].positions) & both))]
            raise file.fault(
                f"{_named(best)} and {_named(name)} both hold genes of the dataset, but different ones in a column "
                f"(such as {gene!r}); choose one with {GENE_FLAG}"
            )
    _check_once(file, best, matches[best])
    return matches[best]


def _gene_columns(file: PredictionFile, choices: FileChoices) -> list[str]:
    """Return the columns of ``var`` that may have the names of the genes, or ``var_names``."""
    gene_column, var = choices.gene_column, file.var
    if gene_column is not None:
        return [gene_column if gene_column in var else VAR_NAMES]
    return [VAR_NAMES, *(name for name in var.columns if var[name].dtype.kind in "OSUiu" or _is_text(var[name]))]


def _is_text(column: pd.Series) -> bool:
    import pandas as pd

    return isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)


def _match(file: PredictionFile, name: str, genes: pd.Index, ids: Mapping[str, str]) -> Columns:
    """Return the columns of genes by one set of names: exact names, ids, or names without regard to case.

    The first way that matches at least half as many genes as the best way is used.
    """
    is_index = name == VAR_NAMES and VAR_NAMES not in file.var
    column = file.var.index if is_index else file.var[name]
    texts = [str(text).strip() for text in np.asarray(column.astype(object), dtype=object)]
    where = file.name if is_index else f"{_named(name)} of {file.name}"
    by_name = {gene: gene for gene in genes}
    cases: dict[str, list[str]] = {}
    for gene in genes:
        cases.setdefault(str(gene).upper(), []).append(gene)
    by_case = {key: same[0] for key, same in cases.items() if len(same) == 1}
    ways = {
        f"the genes are named by {_named(name)}": [by_name.get(text) for text in texts],
        f"the genes are found by their ids in {_named(name)}": [ids.get(key_of_name(text)) for text in texts],
        f"the genes are named by {_named(name)} in another form": _as_dataset(file, name, by_name, ids),
        f"the genes are named by {_named(name)}, upper and lower case aside": [by_case.get(x.upper()) for x in texts],
    }
    tried = {way: _columns(of_columns, genes, texts) for way, of_columns in ways.items()}
    most = max(columns.number for columns in tried.values())
    way, columns = next((way, columns) for way, columns in tried.items() if columns.number * 2 >= most)
    is_usual = is_index and way == next(iter(ways))
    note = "" if is_usual else f"{way}: {columns.number} of {len(genes)} of the dataset are in {where}"
    return replace(columns, note=note)


def _as_dataset(
    file: PredictionFile, name: str, by_name: Mapping[str, str], ids: Mapping[str, str]
) -> list[str | None]:
    """Return the gene of each column, with names such as ``KLF1_ENSG00000105610`` read as in a dataset."""
    column = name if name in file.var else None
    var = file.var if column else file.var[[]]  # a column of symbols is tried separately
    try:
        named = name_genes(var, FileOptions(gene_column=column), [])
    except DataError:  # duplicate names: only exact matches count
        return [None] * len(file.var)
    return [by_name.get(text) or ids.get(key_of_name(text)) for text in map(str, named.index)]


def _columns(of_columns: Sequence[str | None], genes: pd.Index, names: Sequence[str]) -> Columns:
    """Return the first column of each gene, and the genes with several columns."""
    first: dict[str, int] = {}
    twice: dict[str, tuple[int, int]] = {}
    for number, gene in enumerate(of_columns):
        if gene is not None and first.setdefault(gene, number) != number:
            twice.setdefault(gene, (first[gene], number))
    return Columns(np.array([first.get(gene, -1) for gene in genes], dtype=np.intp), names, twice=twice)


def _check_once(file: PredictionFile, name: str, columns: Columns) -> None:
    """Raise an error if several columns match the same gene."""
    for gene, of_gene in columns.twice.items():
        spelt = " and ".join(dict.fromkeys(repr(columns.names[column]) for column in of_gene))
        also = "" if spelt == repr(gene) else f" ({spelt})"
        raise file.fault(
            f"duplicate gene {gene!r} in {_named(name)}{also}; keep one column per gene, or name another "
            f"column of var with {GENE_FLAG}"
        )


def _named(name: str) -> str:
    """Return the description of a set of names for notes and errors."""
    return VAR_NAMES if name in (VAR_NAMES, *INDEX) else f"var[{name!r}]"


def _no_match(file: PredictionFile, genes: pd.Index, choices: FileChoices) -> DataError:
    """Return the error for a file without genes of the dataset; it shows the genes of both."""
    own = [str(name) for name in file.var.index]
    column = choices.gene_column
    if column is not None and column in file.var:
        own = [str(name) for name in file.var[column]]
    are_numbers = all(name.isdigit() for name in own)
    why = " (numbers: the file does not name its genes)" if are_numbers else ""
    columns = f"the columns of var are {some(file.var.columns, 20)}" if len(file.var.columns) else "var has no columns"
    return DataError(
        f"{str(file.path)!r} has none of the dataset's genes (such as {list(genes[:3])}); "
        f"its own, {_named(column or VAR_NAMES)}, are {some(own)}{why}; put the dataset's genes into var_names, or "
        f"name the column of var with them with {GENE_FLAG} ({columns}), or check that the file is for this dataset"
    )
