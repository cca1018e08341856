"""Find the targets among the genes of a file, by any column of ``var`` with the names that the labels use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pertharness.contract.errors import ChoiceError, DataError
from pertharness.datasets.options import NONE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NAMES_OF_FILE = "var_names"
WITHOUT_CASE = "the gene names, upper and lower case aside"
_ENSEMBL = re.compile(r"(ENS[A-Z]*\d{6,})(?:\.\d+)?")
_NUMBER = re.compile(r"(\d+)(?:\.0)?")  # pandas turns 7157 into 7157.0 if a value is missing
_OF_IDS = re.compile(r"entrez|ncbi|gene[-_. ]?ids?$|^ids?$", re.IGNORECASE)
_JOINTS = re.compile(r"[|;,]")
_SHARE_OF_IDS = 0.9
_LEAST_UNIQUE = 0.5
"""Smallest share of distinct values in a column that may name genes."""


@dataclass(frozen=True)
class Match:
    """The genes of a file that match the targets.

    Attributes
    ----------
    column
        Column of ``var`` with the names that the labels use, or another source of names; None if none is needed.
    symbols
        Name in the labels -> gene.
    """

    column: str | None
    symbols: Mapping[str, str]


def key_of_name(name: str) -> str:
    """Return the normalised form of a name: Ensembl ids without version, whole numbers without ``.0``."""
    if not (name[:3] == "ENS" or name[:1].isdigit()):  # fast path for most names
        return name
    for pattern in (_ENSEMBL, _NUMBER):
        if match := pattern.fullmatch(name):
            return match.group(1)
    return name


def are_ids(names: Collection[str]) -> bool:
    """Return whether nearly all names are Ensembl ids or numbers."""
    ids = sum(_ENSEMBL.fullmatch(name) is not None or name.isdigit() for name in names)
    return len(names) > 0 and ids >= _SHARE_OF_IDS * len(names)


def names_by_column(
    var: pd.DataFrame, symbols: Sequence[str], target_column: str | None = None
) -> dict[str, dict[str, str]]:
    """Return, for each column of ``var`` that may name genes, name -> gene.

    Parameters
    ----------
    var
        Table of the file.
    symbols
        Names of the genes in the dataset, in the order of `var`.
    target_column
        Column to use, or ``none`` for no column; None for all columns of texts or whole numbers.

    Raises
    ------
    DataError
        If the column does not exist.
    """
    if target_column == NONE:
        return {}
    if target_column is not None and target_column not in var:
        raise DataError(
            f"var has no column {target_column!r} (--target-column); it has {[str(name) for name in var.columns]}"
        )
    if target_column is not None:
        return {target_column: _table(var[target_column].astype(object).to_numpy(), symbols)}
    values_by_column = {NAMES_OF_FILE: var.index.to_numpy(dtype=object)}
    values_by_column |= {str(name): var[name].astype(object).to_numpy() for name in var.columns if _may_name(var[name])}
    tables = {name: _table(values, symbols) for name, values in values_by_column.items()}
    tables[WITHOUT_CASE] = _unambiguous((symbol.upper(), symbol) for symbol in symbols)
    return tables


def _may_name(column: pd.Series) -> bool:
    """Return whether a column has texts or whole numbers that are mostly distinct."""
    import pandas as pd

    is_number = pd.api.types.is_numeric_dtype(column.dtype)
    if is_number and not _OF_IDS.search(str(column.name)):  # ranks and counts are also distinct
        return False
    values = column.dropna()
    if pd.api.types.is_float_dtype(column.dtype) and (values % 1 != 0).any():
        return False
    values = values[values.astype(str).str.strip() != ""]
    return len(values) > 0 and values.nunique() >= _LEAST_UNIQUE * len(values)


def _table(values: np.ndarray, symbols: Sequence[str]) -> dict[str, str]:
    """Return name -> gene for a column; a value may list several names, such as former names of the gene."""
    return _unambiguous(
        (key_of_name(name.strip()), symbol)
        for value, symbol in zip(values, symbols, strict=True)
        for name in _JOINTS.split(str(value))
    )


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return name -> gene, without ambiguous names and texts for missing values."""
    table: dict[str, str] = {}
    unclear = {"", "nan", "None", "<NA>"}
    for name, symbol in pairs:
        if table.setdefault(name, symbol) != symbol:
            unclear.add(name)
    return {name: symbol for name, symbol in table.items() if name not in unclear}


def match_names(names: Iterable[str], symbols: Collection[str], columns: Mapping[str, Mapping[str, str]]) -> Match:
    """Return the column of a file with most of the names that are not genes, and their genes.

    Raises
    ------
    ChoiceError
        If two columns qualify and give different genes for a name.
    """
    unknown = [name for name in dict.fromkeys(names) if name not in symbols]
    matches: dict[str, dict[str, str]] = {}
    for column, table in columns.items():
        by_name = {name: gene for name in unknown if (gene := _look_up(name, column, table)) is not None}
        if len(by_name) * 2 > len(unknown):
            matches[column] = by_name
    if not matches:
        return Match(None, {})
    best = max(matches, key=lambda column: len(matches[column]))
    for column, by_name in matches.items():
        if column == WITHOUT_CASE or best == WITHOUT_CASE:
            continue
        differing = [name for name in by_name if by_name[name] != matches[best].get(name, by_name[name])]
        if differing:
            name = differing[0]
            raise ChoiceError(
                f"the target {name!r} is not a gene of the file, but {_named(best)} and {_named(column)} both list it, "
                f"as {matches[best][name]!r} and as {by_name[name]!r}; choose the column of var with the names in the "
                f"labels with --target-column (--target-column {NONE}: no column)"
            )
    return Match(best, matches[best])


def _look_up(name: str, column: str, table: Mapping[str, str]) -> str | None:
    return table.get(name.upper() if column == WITHOUT_CASE else key_of_name(name))


def _named(column: str) -> str:
    """Return the description of a source of names for notes and errors."""
    return column if column in (NAMES_OF_FILE, WITHOUT_CASE) else f"var[{column!r}]"


def describe_match(match: Match) -> str:
    """Return a note on names that were found in a column, with the first as example."""
    name, gene = next(iter(match.symbols.items()))
    return f"targets: {len(match.symbols)} names found in {_named(str(match.column))}, such as {name!r} for {gene!r}"


def describe_targets(targets: Iterable[str], genes: Collection[str], most: int = 10) -> list[str]:
    """Return notes on how many targets are genes of a file, and which are not.

    Parameters
    ----------
    targets
        Targets of all perturbations, with repeats.
    genes
        Genes of the dataset.
    most
        Largest number of missing targets to name, most frequent first.
    """
    counts = Counter(targets)
    absent = [repr(name) for name, _ in counts.most_common() if name not in genes]
    names = f" (not: {', '.join(absent[:most])}{', ...' if len(absent) > most else ''})" if absent else ""
    lines = [f"targets: {len(counts) - len(absent)} of {len(counts)} are genes of the file{names}"]
    if counts and len(absent) == len(counts):
        lines.append(
            "targets: none is a gene of the file, so the metric variant 'no-targets' leaves out nothing and equals "
            "'default', and it is unknown whether targets changed as expected"
        )
    return lines
