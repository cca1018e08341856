"""The embedding of genes: rows of the token table, the protein embeddings that the network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pertharness import Skip

from pertharness_uce.weights import Published

if TYPE_CHECKING:
    import pandas as pd


def embed_genes(published: Published, labels: Sequence[str]) -> pd.DataFrame:
    """Return the row of each gene that has a token, by name, float64, shape (n_known, token_width).

    Raises
    ------
    Skip
        If none has.
    """
    import pandas as pd

    tokens = published.vocabulary.tokens
    known = [label for label in dict.fromkeys(labels) if label.upper() in tokens]
    if not known:
        raise Skip(
            f"none of the {len(labels)} genes (first: {labels[:1]}) is among the {len(tokens)} human symbols of UCE "
            f"(such as {min(tokens)!r}): name genes by symbol"
        )
    rows = published.rows(torch.tensor([tokens[label.upper()] for label in known], dtype=torch.int64))
    columns = [f"d{number + 1}" for number in range(rows.shape[1])]
    return pd.DataFrame(rows.double().numpy(), index=pd.Index(known, dtype=object, name="label"), columns=columns)
