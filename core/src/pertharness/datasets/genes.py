"""Name the genes of a file: unique symbols, and Ensembl ids if available."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.datasets.options import FileOptions
from pertharness.datasets.separators import quote

if TYPE_CHECKING:
    import pandas as pd

SYMBOL_COLUMNS = (
    "gene_name", "gene_symbol", "gene_symbols", "symbol", "symbols", "gene_names", "gene_short_name", "feature_name",
)  # fmt: skip
ENSEMBL_COLUMNS = ("ensembl_id", "ensembl", "ensemblid", "ensembl_gene_id", "gene_id", "gene_ids", "feature_id")
_ENSEMBL = re.compile(r"ENS[A-Z]*\d+(\.\d+)?")  # ENSG00000139618.2, ENSMUSG00000041147
_JOINED = (
    re.compile(r"(?P<symbol>.+?)[-_|.:](?P<id>ENS[A-Z]*\d{6,})(?:\.\d+)?"),
    re.compile(r"(?P<id>ENS[A-Z]*\d{6,})(?:\.\d+)?[-_|.:](?P<symbol>(?=.*[A-Za-z]).+)"),
)
"""Patterns of names with both symbol and Ensembl id; a symbol cannot be a number, which would be a version."""
_GENOME = re.compile(r"(?:GRC[hm]\d+|hg\d+|mm\d+|human|mouse|gene)[-_:]+(?P<symbol>(?=.*[A-Za-z]).+)", re.IGNORECASE)
"""Prefix of symbols in GFF files, and in references of several species."""
_SHARE = 0.9  # the rest may be transgenes, spike-ins and guides


def name_genes(var: pd.DataFrame, options: FileOptions, notes: list[str]) -> pd.DataFrame:
    """Return ``var`` in the canonical form: unique symbols as index, and ``ensembl_id`` if available.

    If a symbol is duplicated in a column, it names the first gene; the others keep their names in the file.

    Raises
    ------
    DataError
        If gene names are duplicated, or a column that the user names does not exist.
    """
    import pandas as pd

    var_names = var.index.astype(str).to_numpy(dtype=object)
    symbols = var_names
    if not options.gene_column:
        _check_unique(var_names, var)
    column = (
        _column(var, options.gene_column, "--gene-column") if options.gene_column else _symbol_column(var, var_names)
    )
    parts = _parts_of_names(var_names) if column is None else None
    if parts is not None:
        symbols = _symbols(pd.Series(parts[0]), var_names)
        _check_unique(symbols, var)
        notes.append(
            f"gene names: {symbols[0]!r} of {var_names[0]!r} and so on; {int(sum(symbols == var_names))} keep theirs"
        )
    if column is not None:
        texts = var[column].astype(object).where(var[column].notna(), "").astype(str).to_numpy(dtype=object)
        column_parts = _parts_of_names(texts)
        symbols = _symbols(var[column] if column_parts is None else pd.Series(column_parts[0]), var_names)
        _check_unique(symbols, var)
        n_kept = int(sum(symbols == var_names))
        notes.append(
            f"gene names: var[{column!r}]" + (f"; {n_kept} genes keep their name of the file" if n_kept else "")
        )
    named: pd.DataFrame = pd.DataFrame(index=pd.Index(symbols, dtype=object))
    ensembl = _ensembl_ids(var, var_names if parts is None else parts[1], options)
    if ensembl is not None:
        named["ensembl_id"] = pd.Series(ensembl, index=named.index, dtype=object)
    return named


def _column(var: pd.DataFrame, name: str, flag: str) -> str:
    """Check that a column exists, and return its name."""
    if name not in var:
        raise DataError(f"var has no column {name!r} ({flag}); it has {quote(var.columns, 20)}")
    return name


def _are_ensembl(names: np.ndarray) -> bool:
    """Return whether nearly all names are Ensembl ids."""
    return bool(len(names)) and float(np.mean([bool(_ENSEMBL.fullmatch(str(name))) for name in names])) >= _SHARE


def _are_numbers(names: np.ndarray) -> bool:
    """Return whether nearly all names are numbers, such as Entrez ids."""
    return bool(len(names)) and float(np.mean([str(name).isdigit() for name in names])) >= _SHARE


def _parts_of_names(names: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return symbols and ids from names that nearly all have both, or have a genome as prefix; None for other names."""
    for pattern in (*_JOINED, _GENOME):
        matches = [pattern.fullmatch(str(name)) for name in names]
        if sum(match is not None for match in matches) >= _SHARE * len(names):
            parts = [match.groupdict() if match else {} for match in matches]
            pairs = [(part.get("symbol", name), part.get("id", name)) for part, name in zip(parts, names, strict=True)]
            symbols, ids = zip(*pairs, strict=True)
            return np.array(symbols, dtype=object), np.array(ids, dtype=object)
    return None


def _symbol_column(var: pd.DataFrame, var_names: np.ndarray) -> str | None:
    """Return the column of symbols if the names in the file are Ensembl ids or numbers, else None."""
    if not (_are_ensembl(var_names) or _are_numbers(var_names)):
        return None
    candidates = [column for column in var.columns if str(column).lower() in SYMBOL_COLUMNS]
    candidates = [column for column in candidates if not _are_numbers(var[column].astype(str).to_numpy(dtype=object))]
    if any((var[column].astype(str) != var[candidates[0]].astype(str)).any() for column in candidates[1:]):
        raise DataError(
            f"var has several columns of gene symbols ({quote(candidates)}) that differ; choose with --gene-column"
        )
    return str(candidates[0]) if candidates else None


def _symbols(column: pd.Series, var_names: np.ndarray) -> np.ndarray:
    """Return the symbols of a column; a missing or duplicate symbol is replaced by the name in the file."""
    symbols = column.astype(object).where(column.notna(), "").astype(str).str.strip().to_numpy(dtype=object).copy()
    seen: set[str] = set()
    for i, symbol in enumerate(symbols):
        if not symbol or symbol in seen:
            symbols[i] = var_names[i]
        seen.add(symbols[i])
    return np.asarray(symbols)


def _ensembl_ids(var: pd.DataFrame, var_names: np.ndarray, options: FileOptions) -> np.ndarray | None:
    """Return the Ensembl ids without versions; None if the file has none."""
    ids: np.ndarray | None
    if options.ensembl_column:
        ids = var[_column(var, options.ensembl_column, "--ensembl-column")].astype(str).to_numpy(dtype=object)
    else:
        candidates = [column for column in var.columns if str(column).lower() in ENSEMBL_COLUMNS]
        columns = [var_names, *(var[column].astype(str).to_numpy(dtype=object) for column in candidates)]
        ids = next(filter(_are_ensembl, columns), None)
    if ids is None:
        return None
    return np.array([name.split(".")[0] if _ENSEMBL.fullmatch(name) else name for name in ids], dtype=object)


def _check_unique(names: np.ndarray, var: pd.DataFrame) -> None:
    """Raise an error for duplicate gene names."""
    values, counts = np.unique(names.astype(str), return_counts=True)
    doubled = values[counts > 1].tolist()
    if doubled:
        raise DataError(
            f"{len(doubled)} gene names occur more than once: {quote(doubled)}; take the names from another column of "
            f"var with --gene-column ({quote(var.columns, 20)}), or make them unique in the file, "
            "e.g. with adata.var_names_make_unique()"
        )
