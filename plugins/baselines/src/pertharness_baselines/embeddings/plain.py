"""Embeddings that know nothing: random numbers, one column per label, zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pertharness_baselines.embeddings.request import Request, answer, check_k

if TYPE_CHECKING:
    import pandas as pd


def embed_random(request: Request, k: int = 10) -> pd.DataFrame:
    """Return standard normal numbers drawn from the seed; the control has a row, too."""
    check_k("random", k)
    # The two kinds draw apart: a gene is not to have the same row as its perturbation.
    rng = np.random.default_rng([request.seed, request.kind == "gene"])
    return answer(request, request.labels, rng.normal(size=(len(request.labels), k)), "random")


def embed_identity(request: Request) -> pd.DataFrame:
    """Return an identity matrix over the labels, the control included, as single bytes."""
    return answer(request, request.labels, np.eye(len(request.labels), dtype=np.int8), "identity")


def embed_zero(request: Request) -> pd.DataFrame:
    """Return a zero for every label: the linear model then predicts its centre b + y0 for all queries."""
    return answer(request, request.labels, np.zeros((len(request.labels), 1)), "zero")
