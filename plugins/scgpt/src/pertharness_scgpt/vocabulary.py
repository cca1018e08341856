"""The vocabulary: gene symbols and three special tokens, each with its row in the table of embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pertharness_foundation.contents import CheckpointError, read_text

PADDING = "<pad>"
SPECIALS = (PADDING, "<cls>", "<eoc>")
"""Appended in this order where a file lacks them."""


@dataclass(frozen=True)
class Vocabulary:
    """Token -> row of the table of embeddings; rows are 0, 1, ... without a gap."""

    rows: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def padding(self) -> int:
        """Row of the padding token."""
        return self.rows[PADDING]

    def genes(self) -> list[str]:
        """Return the tokens that are genes."""
        return [token for token in self.rows if token not in SPECIALS]


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a JSON file of the checkpoint's folder.

    Raises
    ------
    CheckpointError
        If it is something else, such as the web page that a drive answers with.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError:
        raise CheckpointError(
            f"scgpt: {path.name} is no JSON, or only its beginning; open its link in a browser, press Download, and "
            "put the file in its place"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"scgpt: {path.name} holds a {type(content).__name__}; expected an object, name -> value")
    return content


def read_vocabulary(path: Path) -> Vocabulary:
    """Return the tokens of a published ``vocab.json``.

    Raises
    ------
    CheckpointError
        If it is no object of tokens and whole numbers, or the numbers are not 0, 1, ... each once.
    """
    content = read_json(path)
    rows: dict[str, int] = {}
    for token, row in content.items():
        if not isinstance(row, int) or isinstance(row, bool):
            raise CheckpointError(f"scgpt: {path.name} gives {token!r} the row {row!r}; expected a whole number")
        rows[token] = row
    if sorted(rows.values()) != list(range(len(rows))):
        raise CheckpointError(
            f"scgpt: {path.name} has {len(rows)} tokens, whose rows are not 0 to {len(rows) - 1}, each once; take the "
            "vocab.json of the folder that the checkpoint is from"
        )
    for token in SPECIALS:
        rows.setdefault(token, len(rows))
    return Vocabulary(rows)
