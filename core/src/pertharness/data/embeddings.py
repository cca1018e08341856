"""Read and write embeddings: h5ad with a row per label and a column per dimension."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pertharness.data.expression import read, write

if TYPE_CHECKING:
    import pandas as pd


def write_embedding(table: pd.DataFrame, path: Path) -> None:
    """Write an embedding, indexed by label; as a sparse matrix if it has at most one non-zero value per row."""
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    values = table.to_numpy()
    few = np.count_nonzero(values) <= len(values)
    obs, var = (pd.DataFrame(index=pd.Index(names.astype(str), dtype=object)) for names in (table.index, table.columns))
    write(AnnData(X=sparse.csr_matrix(values) if few else values, obs=obs, var=var), path)


def read_embedding(path: Path) -> pd.DataFrame:
    """Read an embedding; the values are exactly those that were written.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    import pandas as pd
    from scipy import sparse

    adata = read(path)
    values = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    return pd.DataFrame(values, index=pd.Index(adata.obs_names, name="label"), columns=list(adata.var_names))
