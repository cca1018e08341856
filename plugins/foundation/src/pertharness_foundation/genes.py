"""Match the genes of data with those of a model's vocabulary: by name, by Ensembl id, and by alias."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pertharness import DataError

from pertharness_foundation.contents import read_text

_ENSEMBL = re.compile(r"(ENS[A-Z]{0,6}G\d{6,})(\.\d+)?(_PAR_Y)?")
_COLUMNS = ("symbol", "alias_symbol", "prev_symbol", "ensembl_gene_id")
Way = Literal["name", "id", "alias"]


def ensembl_id(name: str) -> str | None:
    """Return an Ensembl id without its version; None for any other name."""
    match = _ENSEMBL.fullmatch(name)
    return match.group(1) if match else None


@dataclass(frozen=True)
class GeneTable:
    """What other names a gene has.

    Attributes
    ----------
    symbol_of
        Ensembl id without version -> approved symbol.
    approved
        Approved symbol, or an earlier or other symbol that only one gene has -> approved symbol.
    """

    symbol_of: Mapping[str, str] = field(default_factory=dict)
    approved: Mapping[str, str] = field(default_factory=dict)


def read_hgnc(path: Path) -> GeneTable:
    """Return the table of a file of the HGNC, ``hgnc_complete_set.txt``.

    Columns ``symbol``, ``alias_symbol``, ``prev_symbol`` (several joined by ``|``) and ``ensembl_gene_id``; tabs
    between them. An approved symbol is never an alias of another gene, and an earlier symbol comes before an alias; a
    name that two genes have had is left out.

    Raises
    ------
    DataError
        If the file cannot be read, or lacks a column.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
        header = reader.fieldnames or []
        if absent := [name for name in _COLUMNS if name not in header]:
            raise DataError(
                f"{path.name} has no column {absent[0]!r} (columns: {', '.join(header[:6])}); expected the file "
                "hgnc_complete_set.txt of the HGNC, with tabs between the columns"
            )
        rows = [{name: row[name] or "" for name in _COLUMNS} for row in reader if row["symbol"]]
    except csv.Error as error:
        raise DataError(f"{path.name} cannot be read as a table of genes: {error}") from None
    names: dict[str, str] = {}
    for column in ("alias_symbol", "prev_symbol"):
        names |= _unambiguous((alias, row["symbol"]) for row in rows for alias in _parts(row[column]))
    names |= {row["symbol"]: row["symbol"] for row in rows}
    ids = {row["ensembl_gene_id"].split(".")[0]: row["symbol"] for row in rows if row["ensembl_gene_id"]}
    return GeneTable(ids, names)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.strip('"').split("|") if part.strip()]


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return name -> symbol of the names that belong to one symbol."""
    distinct = set(pairs)
    counts = Counter(name for name, _ in distinct)
    return {name: symbol for name, symbol in distinct if counts[name] == 1}


@dataclass(frozen=True)
class GeneMatch:
    """The genes of data in a vocabulary.

    Attributes
    ----------
    genes
        The genes of the data, in their order.
    names
        For each the name in the vocabulary; None where it has none, or another gene of the data has it already.
    ways
        How each was matched; None where it was not.
    """

    genes: tuple[str, ...]
    names: tuple[str | None, ...]
    ways: tuple[Way | None, ...]

    @property
    def lost(self) -> tuple[str, ...]:
        """Genes of the data that the vocabulary does not have."""
        return tuple(gene for gene, name in zip(self.genes, self.names, strict=True) if name is None)

    @property
    def known(self) -> np.ndarray:
        """Whether each gene of the data is in the vocabulary, shape (n_genes,)."""
        return np.array([name is not None for name in self.names], dtype=bool)

    def name_of(self, gene: str) -> str | None:
        """Return the name in the vocabulary of a gene of the data; None where it has none, or is not in the data."""
        return self._name_of.get(gene)

    @cached_property
    def _name_of(self) -> Mapping[str, str | None]:
        return dict(zip(self.genes, self.names, strict=True))

    def tokens(self, ids: Mapping[str, int], *, unknown: int) -> np.ndarray:
        """Return the id of each gene of the data, int64 of shape (n_genes,); `unknown` where it has none."""
        return np.array([unknown if name is None else ids[name] for name in self.names], dtype=np.int64)

    def note(self) -> str:
        """Return a line for the record: what was mapped how, and what was lost."""
        counts = Counter(self.ways)
        text = f"genes: {len(self.genes) - counts[None]} of {len(self.genes)} are in the model's vocabulary"
        parts = [f"{counts[way]} {words}" for way, words in _WORDS.items() if counts[way]]
        text += f" ({', '.join(parts)})" if parts else ""
        return text + (f"; {counts[None]} are not, such as {self.lost[0]!r}" if counts[None] else "")


_WORDS: Mapping[Way, str] = {"name": "by name", "id": "by Ensembl id", "alias": "by another symbol"}


def match_genes(
    genes: Sequence[str], vocabulary: Collection[str], *, ensembl_ids: Sequence[str] | None = None,
    table: GeneTable | None = None,
) -> GeneMatch:  # fmt: skip
    """Match genes with a vocabulary of symbols or of Ensembl ids.

    A gene is matched by its exact name (letter case counts), else by its Ensembl id without version, else by another
    symbol of the table; an exact match is never given up for another one.

    Parameters
    ----------
    genes
        ``var_names`` of the data.
    vocabulary
        The names that the model knows.
    ensembl_ids
        ``var["ensembl_id"]`` of the data, where it is there; with or without version, empty where unknown.
    table
        Symbols by Ensembl id and by alias; without it there are no matches by another symbol.

    Raises
    ------
    DataError
        If no gene is matched; the message has an example of both sides, and says so where the data have Ensembl ids
        and the vocabulary symbols, or the other way round.
    """
    known = _Vocabulary.of(vocabulary, table or GeneTable())
    ids = [ensembl_id(str(text)) for text in (ensembl_ids if ensembl_ids is not None else [""] * len(genes))]
    matched: dict[int, tuple[str, Way]] = {row: (gene, "name") for row, gene in enumerate(genes) if gene in known.names}
    taken = {gene for gene, _ in matched.values()}
    others: dict[Way, Callable[[str, str | None], str | None]] = {"id": known.by_ensembl, "alias": known.by_alias}
    for way, look_up in others.items():
        for row, gene in enumerate(genes):
            name = None if row in matched else look_up(gene, ids[row] or ensembl_id(gene))
            if name is not None and name not in taken:
                matched[row] = (name, way)
                taken.add(name)
    if not matched:
        raise DataError(_no_match(genes, known.names, has_ids=any(ids)))
    rows = [matched.get(row, (None, None)) for row in range(len(genes))]
    return GeneMatch(tuple(genes), tuple(name for name, _ in rows), tuple(way for _, way in rows))


@dataclass(frozen=True)
class _Vocabulary:
    """The names of a model by what else they may be called: symbols, Ensembl ids, or ids of genes without a symbol."""

    names: Collection[str]
    by_id: Mapping[str, str]
    by_approved: Mapping[str, str]
    id_of: Mapping[str, str]
    table: GeneTable

    @classmethod
    def of(cls, vocabulary: Collection[str], table: GeneTable) -> _Vocabulary:
        names = {str(name) for name in vocabulary}
        by_id = {stem: name for name in sorted(names) if (stem := ensembl_id(name))}
        by_approved = _unambiguous((table.approved.get(name, name), name) for name in names)
        id_of = {symbol: stem for stem, symbol in table.symbol_of.items()}
        return cls(names, by_id, by_approved, id_of, table)

    def by_ensembl(self, gene: str, stem: str | None) -> str | None:
        """Return the name of an Ensembl id, or of its symbol."""
        if stem is None:
            return None
        symbol = self.table.symbol_of.get(stem)
        return self.by_id.get(stem) or (symbol if symbol in self.names else None)

    def by_alias(self, gene: str, stem: str | None) -> str | None:
        """Return the name of the gene that has a symbol, or had it, under whichever of its names the model knows it."""
        approved = self.table.symbol_of.get(stem or "") or self.table.approved.get(gene)
        if approved is None:
            return None
        return self.by_id.get(self.id_of.get(approved, "")) or self.by_approved.get(approved)


def _no_match(genes: Sequence[str], names: Collection[str], *, has_ids: bool) -> str:
    """Return the message for data of which the model knows no gene."""
    shown, known = repr(genes[0]) if genes else "none", repr(min(names)) if names else "none"
    text = f"none of the {len(genes)} genes (first: {shown}) is among the {len(names)} of the model (such as {known})"
    model_has_ids = sum(ensembl_id(name) is not None for name in names) > len(names) / 2
    if genes and ensembl_id(genes[0]) and not model_has_ids:
        return f"{text}: the data have Ensembl ids, and the model knows symbols; load them with --gene-column, or "\
               "name a table of the HGNC"  # fmt: skip
    if model_has_ids and not has_ids:
        return f"{text}: the model knows Ensembl ids, and the data have none; load them with --ensembl-column, or "\
               "name a table of the HGNC"  # fmt: skip
    if {gene.upper() for gene in genes} & set(names):
        return f"{text}; in upper case some are: are these genes of another species?"
    return f"{text}; expected data of human genes by symbol"
