"""The embedding of genes: rows of the published table, normalised, without fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pertharness import Skip
from pertharness_foundation.checkpoint import load_state

from pertharness_scgpt.network import Network
from pertharness_scgpt.vocabulary import SPECIALS
from pertharness_scgpt.weights import Published, rules_of

if TYPE_CHECKING:
    import pandas as pd


def embed_genes(published: Published, labels: Sequence[str]) -> pd.DataFrame:
    """Return the vector of each gene that is in the vocabulary, by name, float64, shape (n_known, width).

    The whole checkpoint is checked, as for the model.

    Raises
    ------
    Skip
        If none is.
    """
    import pandas as pd

    rows = published.vocabulary.rows
    known = [label for label in dict.fromkeys(labels) if label in rows and label not in SPECIALS]
    if not known:
        raise Skip(
            f"none of the {len(labels)} genes (first: {labels[0]!r}) is in the vocabulary of scGPT (such as "
            f"{min(published.vocabulary.genes())!r}): name genes by symbol"
        )
    tokens = torch.tensor([rows[label] for label in known], dtype=torch.int64)
    return pd.DataFrame(token_vectors(published, tokens).numpy().astype("float64"), index=pd.Index(known, dtype=object))


def token_vectors(published: Published, tokens: torch.Tensor) -> torch.Tensor:
    """Return the vectors of some tokens, float32, shape (n_tokens, width)."""
    with torch.device("meta"):
        network = Network(published.sizes)
    # The tensors of the file take the place of those without values; what starts fresh is not used here.
    load_state(network, published.state, rules_of("fresh"), source=published.name, assign=True)
    with torch.no_grad():
        vectors: torch.Tensor = network.encoder(tokens)
    return vectors
