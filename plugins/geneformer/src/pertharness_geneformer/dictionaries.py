"""The three published dictionaries: tokens and medians by Ensembl id, and Ensembl ids by symbol or earlier id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pertharness_foundation.contents import CheckpointError
from pertharness_foundation.unpickle import read_pickle

from pertharness_geneformer.settings import Symbols

PADDING, MASK, CLASS, END = "<pad>", "<mask>", "<cls>", "<eos>"
SPECIALS = (PADDING, MASK, CLASS, END)


@dataclass(frozen=True)
class Dictionaries:
    """What genes are called, and what the network knows of them.

    Attributes
    ----------
    tokens
        Ensembl id, or special token -> row of the table of embeddings.
    mapping
        Symbol, or Ensembl id of any time -> Ensembl id, in the order of the file.
    medians
        Ensembl id -> median of its positive values over the pretraining cells; empty where they are not needed.
    """

    tokens: Mapping[str, int]
    mapping: Mapping[str, str]
    medians: Mapping[str, float]

    def id_of(self, name: str) -> str | None:
        """Return the Ensembl id, of those with a token, of a symbol or an earlier id; None if it has none."""
        identifier = self.mapping.get(name)
        return identifier if identifier in self.tokens else None

    def id_of_symbol(self, symbol: str, symbols: Symbols) -> str | None:
        """Return the Ensembl id of the symbol of a gene of the data; None if it has none.

        Published is a table of ids, in which only the first name of an id is left; others of its names are lost.
        """
        if symbols == "any_key":
            return self.id_of(symbol) or self.id_of(symbol.upper())
        known = self.id_of(symbol)
        return known if known is not None and self._first_names[known] == symbol else None

    @cached_property
    def _first_names(self) -> Mapping[str, str]:
        first: dict[str, str] = {}
        for name, identifier in self.mapping.items():
            first.setdefault(identifier, name)
        return first


def read_tokens(path: Path) -> dict[str, int]:
    """Return the token of each Ensembl id, and of four special ones.

    Raises
    ------
    CheckpointError
        If it is no dictionary of whole numbers from 0, each once, or lacks a special token.
    """
    content = _read_dict(path)
    tokens: dict[str, int] = {}
    for name, token in content.items():
        if not isinstance(name, str) or not isinstance(token, int) or isinstance(token, bool):
            raise CheckpointError(f"geneformer: {path.name} has {name!r}: {token!r}; expected Ensembl id -> token")
        tokens[name] = token
    if absent := [name for name in SPECIALS if name not in tokens]:
        raise CheckpointError(
            f"geneformer: {path.name} has {len(tokens)} tokens, and none is {absent[0]!r}: it is the dictionary of "
            "another version; take token_dictionary_gc95M.pkl"
        )
    if sorted(tokens.values()) != list(range(len(tokens))):
        raise CheckpointError(
            f"geneformer: {path.name} has {len(tokens)} tokens, whose numbers are not 0 to {len(tokens) - 1}, each "
            "once; take the token dictionary of the checkpoint"
        )
    return tokens


def read_medians(path: Path) -> dict[str, float]:
    """Return the median expression of each Ensembl id.

    Raises
    ------
    CheckpointError
        If it is no dictionary of numbers above 0.
    """
    medians: dict[str, float] = {}
    for name, value in _read_dict(path).items():
        median = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        if not isinstance(name, str) or not (math.isfinite(median) and median > 0):
            raise CheckpointError(
                f"geneformer: {path.name} has {name!r}: {value!r}; expected Ensembl id -> median, a number above 0"
            )
        medians[name] = median
    return medians


def read_mapping(path: Path) -> dict[str, str]:
    """Return the Ensembl id of each symbol and of each earlier id; names and ids that are no text are left out.

    Raises
    ------
    CheckpointError
        If it is no dictionary of texts.
    """
    content = _read_dict(path)
    mapping = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, str)}
    if not mapping:
        name, value = next(iter(content.items()))
        raise CheckpointError(
            f"geneformer: {path.name} has {name!r}: {value!r}; expected symbol or Ensembl id -> Ensembl id"
        )
    return mapping


def check_medians(tokens: Mapping[str, int], medians: Mapping[str, float], source: str) -> None:
    """Raise CheckpointError if more than half of the genes with a token have no median: another version's file."""
    genes = [name for name in tokens if name not in SPECIALS]
    without = [name for name in genes if name not in medians]
    if 2 * len(without) > len(genes):
        raise CheckpointError(
            f"geneformer: {source} has no median of {len(without)} of the {len(genes)} genes with a token, such as "
            f"{without[0]!r}: it is the dictionary of another version; take gene_median_dictionary_gc95M.pkl"
        )


def _read_dict(path: Path) -> Mapping[object, object]:
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        what = "an empty dictionary" if content == {} else f"a {type(content).__name__}"
        raise CheckpointError(f"geneformer: {path.name} holds {what}; expected the published dictionary")
    return content
