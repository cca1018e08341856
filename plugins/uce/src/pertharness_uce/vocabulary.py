"""Tokens: each human symbol's row in the table, and its place on a chromosome, from the three small published files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pertharness_foundation.contents import CheckpointError, read_text
from pertharness_foundation.unpickle import read_pickle

from pertharness_uce.symbols import Symbols, read_symbols

if TYPE_CHECKING:
    import pandas as pd

PADDING, CLOSING, CELL = 0, 2, 3
"""Tokens of padding, of the end of a chromosome, and of the cell; 1 is not used by the published code either."""
FIRST_GENE = 4
SPECIES = "human"
_COLUMNS = ("species", "gene_symbol", "chromosome", "start")


@dataclass(frozen=True)
class Vocabulary:
    """What is known of human genes, by symbol in upper case.

    Attributes
    ----------
    tokens
        Symbol -> row of the token table.
    places
        Symbol -> code of its chromosome among those of all species, and genomic start.
    n_chromosomes
        Chromosomes of all species; their tokens are the last rows of the table.
    width
        Length of the vectors that the symbols were published with; None where unknown.
    clashes
        Symbols that are the same as an earlier one in upper case, and share its token.
    """

    tokens: Mapping[str, int]
    places: Mapping[str, tuple[int, int]]
    n_chromosomes: int
    width: int | None
    clashes: tuple[str, ...]


def read_vocabulary(symbols: Path, chromosomes: Path, offsets: Path) -> Vocabulary:
    """Return the vocabulary of the published files.

    Raises
    ------
    CheckpointError
        If one of them is not what it should be, or they do not belong together.
    """
    listed = read_symbols(symbols)
    first, end = read_offset(offsets)
    if end is not None and first + len(listed.names) > end:
        raise CheckpointError(
            f"uce: {symbols.name} has {len(listed.names)} symbols, and {offsets.name} has room for {end - first} of "
            f"{SPECIES!r}: they are of different versions; fetch both again"
        )
    tokens, clashes = _tokens(listed, first)
    places, n_chromosomes = read_chromosomes(chromosomes)
    return Vocabulary(tokens, places, n_chromosomes, listed.width, clashes)


def _tokens(symbols: Symbols, first: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the token of each symbol in upper case, the first one's of those that clash, and what clashes."""
    tokens: dict[str, int] = {}
    clashes = []
    for number, name in enumerate(symbols.names):
        if name.upper() in tokens:
            clashes.append(name)
        tokens.setdefault(name.upper(), first + number)
    return tokens, tuple(clashes)


def read_offset(path: Path) -> tuple[int, int | None]:
    """Return the first token of human genes, and that of the species after them; None where they are the last.

    Raises
    ------
    CheckpointError
        If the file is no pickle of a dict: species -> number, or has no human genes.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(value, int) for value in content.values()):
        raise CheckpointError(
            f"uce: {path.name} holds a {type(content).__name__}, or values of another kind; expected a dict of "
            "numbers: species -> first token"
        )
    if SPECIES not in content:
        known = ", ".join(map(repr, list(content)[:5])) or "none"
        raise CheckpointError(f"uce: {path.name} has no {SPECIES!r} (species: {known}); it is of another version")
    first = content[SPECIES]
    if first < FIRST_GENE:
        raise CheckpointError(
            f"uce: {path.name} has the first token {first} for {SPECIES!r}; expected {FIRST_GENE} or more"
        )
    return first, min((value for value in content.values() if value > first), default=None)


def read_chromosomes(path: Path) -> tuple[dict[str, tuple[int, int]], int]:
    """Return chromosome code and start of each human symbol, in upper case, and the number of chromosomes.

    The code is the rank of ``species_chromosome`` among those of all rows, sorted as text. The first row of a symbol
    counts.

    Raises
    ------
    CheckpointError
        If the file is no table with the published columns, or has no human genes.
    """
    import numpy as np

    frame = _read_table(path).dropna(subset=["species", "chromosome"])
    codes, names = _codes(frame)
    human = np.flatnonzero(frame["species"].to_numpy() == SPECIES)
    starts = _starts(path, frame.iloc[human])
    symbols = frame["gene_symbol"].astype(object).to_numpy()
    places: dict[str, tuple[int, int]] = {}
    for row, start in zip(human, starts, strict=True):
        places.setdefault(str(symbols[row]).upper(), (codes[row], start))
    if not places:
        known = ", ".join(map(repr, sorted(set(frame["species"]))[:5])) or "none"
        raise CheckpointError(
            f"uce: {path.name} has no genes of {SPECIES!r} (species: {known}); it is of another version"
        )
    return places, names


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(io.StringIO(read_text(path)), dtype=dict.fromkeys(_COLUMNS[:3], str))
    except (ValueError, pd.errors.ParserError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"uce: {path.name} cannot be read as a table: {reason}; fetch it again") from None
    if absent := [name for name in _COLUMNS if name not in frame.columns]:
        raise CheckpointError(
            f"uce: {path.name} has no column {absent[0]!r} (columns: {', '.join(map(str, frame.columns[:6]))}); "
            f"expected {', '.join(_COLUMNS)}: it is of another version"
        )
    return frame[list(_COLUMNS)]


def _starts(path: Path, frame: pd.DataFrame) -> list[int]:
    """Return the genomic start of each row."""
    import pandas as pd

    starts = pd.to_numeric(frame["start"], errors="coerce")
    if (wrong := starts.isna()).any():
        value = frame["start"][wrong].iloc[0]
        raise CheckpointError(
            f"uce: {path.name} has the start {value!r}; expected a position: it is of another version"
        )
    return [int(start) for start in starts]


def _codes(frame: pd.DataFrame) -> tuple[list[int], int]:
    """Return the chromosome code of each row, and the number of codes."""
    names = [f"{species}_{name}" for species, name in zip(frame["species"], frame["chromosome"], strict=True)]
    code_of = {name: code for code, name in enumerate(sorted(set(names)))}
    return [code_of[name] for name in names], len(code_of)
