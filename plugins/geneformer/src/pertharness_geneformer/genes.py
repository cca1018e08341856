"""Which genes of the data the network knows: their Ensembl ids, tokens and medians, and what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pertharness import DataError
from pertharness_foundation.genes import ensembl_id

from pertharness_geneformer.dictionaries import Dictionaries
from pertharness_geneformer.settings import Symbols

UNKNOWN = -1


@dataclass(frozen=True)
class Genes:
    """The genes of the data as the network is given them.

    Attributes
    ----------
    names
        All genes of the data.
    of_column
        For each gene of the data its number among `ids`, `UNKNOWN` where it has no token, shape (n_genes,). Several may
        have one number: their counts are summed.
    ids
        Ensembl ids, each once, in the order of their first genes in the data.
    tokens
        Of `ids`, int64, shape (n_ids,).
    medians
        Of `ids`, float64, shape (n_ids,).
    note
        A line for the record.
    """

    names: tuple[str, ...]
    of_column: np.ndarray
    ids: tuple[str, ...]
    tokens: np.ndarray
    medians: np.ndarray
    note: str


def match_genes(
    names: Sequence[str], ensembl_ids: Sequence[Any] | None, dictionaries: Dictionaries, symbols: Symbols
) -> Genes:
    """Return the tokens of the genes of the data.

    A gene with an Ensembl id, of its own or as its name, is found by that; others by their symbol.

    Parameters
    ----------
    names
        ``var_names`` of the data.
    ensembl_ids
        ``var["ensembl_id"]`` of the data, where it is there; with or without version, empty where unknown.
    symbols
        Which symbols of an id are known.

    Raises
    ------
    DataError
        If no gene has a token, or one has no median.
    """
    identifiers, ways = [], {"id": 0, "symbol": 0}
    stated = [""] * len(names) if ensembl_ids is None else list(map(str, ensembl_ids))
    for name, text in zip(names, stated, strict=True):
        identifier = ensembl_id(text.upper()) or ensembl_id(name.upper())
        known = dictionaries.id_of(identifier) if identifier else dictionaries.id_of_symbol(name, symbols)
        identifiers.append(known)
        if known is not None:
            ways["id" if identifier else "symbol"] += 1
    ids = tuple(dict.fromkeys(known for known in identifiers if known is not None))
    if not ids:
        raise DataError(_no_match(names, dictionaries, symbols))
    if absent := [known for known in ids if known not in dictionaries.medians]:
        raise DataError(
            f"geneformer: the dictionary of medians has none of {absent[0]!r} and {len(absent) - 1} more genes of the "
            "data that have a token: tokens and medians are of different versions; take both from one"
        )
    number = {known: position for position, known in enumerate(ids)}
    of_column = np.array([UNKNOWN if known is None else number[known] for known in identifiers], dtype=np.int64)
    tokens = np.array([dictionaries.tokens[known] for known in ids], dtype=np.int64)
    medians = np.array([dictionaries.medians[known] for known in ids], dtype=np.float64)
    return Genes(tuple(names), of_column, ids, tokens, medians, _note(names, of_column, ids, ways))


def _note(names: Sequence[str], of_column: np.ndarray, ids: Sequence[str], ways: dict[str, int]) -> str:
    """Return a line for the record: what was mapped how, and what was lost."""
    mapped = sum(ways.values())
    parts = [f"{n} by {'Ensembl id' if way == 'id' else 'symbol'}" for way, n in ways.items() if n]
    text = f"genes: {mapped} of {len(names)} have a token of Geneformer ({', '.join(parts)})"
    if mapped > len(ids):
        text += f"; counts of {mapped - len(ids)} are added to those of another gene of the same Ensembl id"
    lost = np.flatnonzero(of_column == UNKNOWN)
    return text + (f"; {len(lost)} have none and are left out, such as {names[lost[0]]!r}" if len(lost) else "")


def _no_match(names: Sequence[str], dictionaries: Dictionaries, symbols: Symbols) -> str:
    """Return the message for data of which the network knows no gene."""
    shown = repr(names[0]) if len(names) else "none"
    text = (
        f"geneformer: none of the {len(names)} genes of the data (first: {shown}) leads to a token; the dictionary has "
        f"names such as {next(iter(dictionaries.mapping))!r}"
    )
    if symbols == "first_key" and any(dictionaries.id_of_symbol(name, "any_key") for name in names):
        return (
            f"{text}. Their symbols are in it, but none is the first of its Ensembl id: load the data with "
            "--ensembl-column, or set symbols=any_key"
        )
    return f"{text}; expected data of human genes, by Ensembl id (--ensembl-column) or by symbol (--gene-column)"
