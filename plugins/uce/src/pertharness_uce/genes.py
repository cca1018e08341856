"""The genes of the data that have a token and a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pertharness_foundation.contents import CheckpointError
from pertharness_foundation.genes import GeneTable, match_genes

from pertharness_uce.sentences import Places
from pertharness_uce.vocabulary import Vocabulary

SHOWN = 5
"""Genes that a line of the record names; of more, the number."""


@dataclass(frozen=True)
class Genes:
    """The genes of the data, and those that the network knows.

    Attributes
    ----------
    names
        All genes of the data.
    columns
        Columns of the network's genes in the data, ascending, shape (n_known,).
    places
        Of these genes.
    notes
        Lines for the record.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    places: Places
    notes: tuple[str, ...]

    def column_of(self) -> dict[str, int]:
        """Return the column of each gene of the data."""
        return {name: column for column, name in enumerate(self.names)}

    def silent_note(self, columns: Sequence[int], which: str) -> list[str]:
        """Return a line for the record on targets that no cell of their condition expresses; none if there are none.

        Parameters
        ----------
        columns
            Of these targets.
        which
            Which cells these are, for that line.
        """
        names = sorted({self.names[column] for column in columns})
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        text = (
            f"targets that no {which} cell of their condition expresses, pasted as 0: {', '.join(names[:SHOWN])}{more}"
        )
        return [text] if names else []


def choose_genes(
    names: Sequence[str], ensembl_ids: Sequence[str] | None, vocabulary: Vocabulary, first_chromosome: int,
    table: GeneTable | None = None,
) -> Genes:  # fmt: skip
    """Return the genes that the network knows, by symbol, whatever the letter case.

    Raises
    ------
    DataError
        If it knows none.
    CheckpointError
        If one that has a token has no place: the table of chromosomes is of another version.
    """
    upper = [name.upper() for name in names]
    match = match_genes(upper, vocabulary.tokens, ensembl_ids=ensembl_ids, table=table)
    columns = np.flatnonzero(match.known)
    known = [str(match.names[column]) for column in columns]
    if absent := [name for name in known if name not in vocabulary.places]:
        raise CheckpointError(
            f"uce: species_chrom.csv has no human {absent[0]!r}, and {len(absent) - 1} more of {len(known)} genes that "
            "have a protein embedding: it is of another version; fetch it again"
        )
    placed = [vocabulary.places[name] for name in known]
    places = Places(
        tokens=np.array([vocabulary.tokens[name] for name in known], dtype=np.int64),
        chromosomes=np.array([chromosome for chromosome, _ in placed], dtype=np.int64),
        starts=np.array([start for _, start in placed], dtype=np.int64), first_chromosome=first_chromosome,
    )  # fmt: skip
    return Genes(tuple(names), columns, places, (match.note(), *_clash_notes(names, known, columns, vocabulary)))


def _clash_notes(names: Sequence[str], known: Sequence[str], columns: np.ndarray, vocabulary: Vocabulary) -> list[str]:
    """Return a line for genes that share a token because they differ in letter case alone, if there are any."""
    first: dict[str, int] = {}
    places = zip(columns.tolist(), known, strict=True)
    clashing = [names[column] for column, name in places if first.setdefault(name, column) != column]
    lines = []
    if clashing:
        lines.append(
            f"genes: {len(clashing)} differ from another one in letter case alone, such as {clashing[0]!r}, and share "
            "its token"
        )
    if vocabulary.clashes:
        lines.append(
            f"symbols: {len(vocabulary.clashes)} are the same as an earlier one in upper case, such as "
            f"{vocabulary.clashes[0]!r}, and share its token"
        )
    return lines
