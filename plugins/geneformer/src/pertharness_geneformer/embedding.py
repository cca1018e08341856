"""The embedding of genes: rows of the published table of tokens, not fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pertharness import Skip

from pertharness_geneformer.network import make_classifier
from pertharness_geneformer.weights import Published

if TYPE_CHECKING:
    import pandas as pd


def embed_genes(published: Published, labels: Sequence[str]) -> pd.DataFrame:
    """Return the vector of each gene that has a token, by name, float64, shape (n_known, width).

    The whole checkpoint is checked, as for the model.

    Raises
    ------
    Skip
        If none has.
    """
    import pandas as pd

    known = published.dictionaries
    ids = {label: known.id_of(label) or known.id_of(label.upper()) for label in labels}
    tokens = {label: known.tokens[identifier] for label, identifier in ids.items() if identifier is not None}
    if not tokens:
        raise Skip(
            f"none of the {len(labels)} genes (first: {labels[0]!r}) has a token of Geneformer; its dictionary has "
            f"names such as {next(iter(known.mapping))!r}: name genes by symbol or Ensembl id"
        )
    values = token_vectors(published)[torch.tensor(list(tokens.values()))].numpy().astype("float64")
    return pd.DataFrame(values, index=pd.Index(list(tokens), dtype=object))


def token_vectors(published: Published) -> torch.Tensor:
    """Return the vectors of all tokens, float32, shape (n_tokens, width)."""
    with torch.device("meta"):
        network = make_classifier(published.sizes, 2)
    published.load_into(network, assign=True)
    table: torch.Tensor = network.bert.embeddings.word_embeddings.weight.detach()
    return table
