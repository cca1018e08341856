"""Principal components: of the training data (``pca``) and of another screen (``transfer``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pertharness import DataError

from pertharness_baselines.components import principal_components
from pertharness_baselines.embeddings.request import Request, answer, check_k

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def embed_pca(request: Request, k: int = 10) -> pd.DataFrame:
    """Return the scores of the first `k` components of the training means, genes as observations.

    A perturbation has the row of its gene, if that is read out.
    """
    check_k("pca", k)
    return answer(request, request.train.var_names, _of_genes(request.train, k), "the training data")


def embed_transfer(request: Request, k: int = 10) -> pd.DataFrame:
    """Return the scores of the first `k` components of another screen's means, all its perturbations and the control.

    Of perturbations: these as observations, so that the control has a row too, as in the authors'
    ``extract_pert_embedding_pca.R``. Of genes: the genes as observations.

    Raises
    ------
    DataError
        If there is no other screen.
    """
    check_k("transfer", k)
    if request.reference is None:
        raise DataError("transfer: expected another screen; name a dataset of the recipe, as in P=transfer:NAME")
    name, screen = request.reference
    where = f"transfer: the screen {name!r}"
    if request.kind == "gene":
        return answer(request, screen.var_names, _of_genes(screen, k), where)
    return answer(request, screen.obs["perturbation"], principal_components(screen.X, k), where)


def _of_genes(screen: AnnData, k: int) -> np.ndarray:
    return principal_components(screen.X.T, k)
