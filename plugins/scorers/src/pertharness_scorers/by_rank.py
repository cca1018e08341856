"""The scorer ``l2_by_rank``: the l2 of the first n genes, for growing n.

Genes come in one of two orders: by control expression, the same for all perturbations; or by how far the observed
expression of that perturbation is from the control, which uses the truth. Source: doi 10.1038/s41592-025-02772-6,
Extended Data Fig. 8b; ``docs/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from pertharness import MetricOffer, ScorerOffer, Scores, TableOffer

from pertharness_scorers.answers import Answers, long_form, match_answers
from pertharness_scorers.panel import expression_rank

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_ORDERS = ("expression", "differential-expression")
_SUMMARY = "l2 of the n genes with the highest expression, or with the largest change (uses the truth)"
OFFER = ScorerOffer(
    name="l2_by_rank",
    summary=_SUMMARY,
    metrics=(
        MetricOffer(
            id="l2_by_rank", level="curve", direction="lower", best=0.0, variants=_ORDERS, summary=_SUMMARY,
            reference="10.1038/s41592-025-02772-6",
        ),
    ),
    tables=(
        TableOffer(
            name="l2_by_rank", level="curve", summary="Mean and standard deviation over perturbations, for pooling"
        ),
    ),
)  # fmt: skip
_BLOCK_ROWS = 32
"""Rows processed at once: at 5000 genes 1.3 MB per array, which fits a core's cache; 256 take twice as long."""


def score_by_rank(truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData) -> Scores:
    """Return the mean curve over the answered perturbations that have a value for every gene."""
    import pandas as pd

    answers = match_answers(truth, prediction, controls, train)
    curves, ranks = curves_of(answers), sampled_ranks(len(answers.genes))
    tables = [describe_curves(values, ranks, order) for order, values in curves.items()]
    values = {order: table["mean"].to_numpy() for order, table in zip(curves, tables, strict=True)}
    return Scores(
        long_form("l2_by_rank", values, coordinates=ranks.tolist()),
        {"l2_by_rank": pd.concat(tables, ignore_index=True)},
    )


def curves_of(answers: Answers) -> dict[str, np.ndarray]:
    """Return the curves of each order, one row per complete answer, shape (n_defined, n_ranks)."""
    defined = np.flatnonzero(answers.defined())
    ranks = sampled_ranks(len(answers.genes))
    by_expression = np.argsort(expression_rank(answers.y0))
    curves = {order: np.empty((len(defined), len(ranks))) for order in _ORDERS}
    for start in range(0, len(defined), _BLOCK_ROWS):
        rows = defined[start : start + _BLOCK_ROWS]
        y = answers.y[rows]
        squares = (answers.yhat[rows] - y) ** 2
        block = slice(start, start + len(rows))
        curves["expression"][block] = cumulative_l2(squares[:, by_expression], ranks)
        by_change = np.take_along_axis(squares, change_order(y - answers.y0), axis=1)
        curves["differential-expression"][block] = cumulative_l2(by_change, ranks)
    return curves


def sampled_ranks(n_genes: int) -> np.ndarray:
    """Return the numbers of genes that a curve has a point for: 1 to 100, from 101 by 10, from 1000 by 100, and all."""
    ranks = {*range(1, 101), *range(101, 1000, 10), *range(1000, n_genes, 100), n_genes}
    return np.array(sorted(rank for rank in ranks if rank <= n_genes), dtype=np.int64)


def cumulative_l2(squares: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Return sqrt(sum of the first n squares) for the ranks n.

    Parameters
    ----------
    squares
        Squared errors of the genes in order, shape (n_perturbations, n_genes).
    ranks
        Ascending; the last is n_genes.

    Returns
    -------
    numpy.ndarray
        Shape (n_perturbations, n_ranks).
    """
    # Summed between the ranks first: a running sum over all genes would be the slowest part.
    between = np.add.reduceat(squares, np.concatenate([[0], ranks[:-1]]), axis=1)
    curve: np.ndarray = np.sqrt(np.cumsum(between, axis=1))
    return curve


def change_order(change: np.ndarray) -> np.ndarray:
    """Return for each row the genes by descending absolute change, ties in data order: as a stable argsort, but faster.

    A double that is not negative sorts as its bits do. Their lowest ones are replaced by the number of the gene, so
    that plain integers are sorted in place of an index; rows where these bits would have decided are sorted again.

    Parameters
    ----------
    change
        Finite, shape (n_perturbations, n_genes).

    Returns
    -------
    numpy.ndarray
        Indices, shape (n_perturbations, n_genes). Agrees with R's ``rank(desc(abs(change)), ties.method = "first")``.
    """
    n_genes = change.shape[1]
    low = np.uint64((1 << max(n_genes - 1, 1).bit_length()) - 1)
    keys = ~np.abs(change, dtype=np.float64).view(np.uint64)
    packed = (keys & ~low) | np.arange(n_genes, dtype=np.uint64)
    packed.sort(axis=1)
    order: np.ndarray = (packed & low).astype(np.intp)
    sorted_keys = np.take_along_axis(keys, order, axis=1)
    again = np.flatnonzero((sorted_keys[:, 1:] < sorted_keys[:, :-1]).any(axis=1))
    order[again] = np.argsort(keys[again], axis=1, kind="stable")
    return order


def describe_curves(curves: np.ndarray, ranks: np.ndarray, variant: str) -> pd.DataFrame:
    """Return variant, n, mean, sd (n - 1; NaN for one curve) and n_perturbations of curves, one row per rank."""
    import pandas as pd

    n_curves = len(curves)
    mean = curves.mean(axis=0) if n_curves else np.full(len(ranks), np.nan)
    sd = curves.std(axis=0, ddof=1) if n_curves > 1 else np.full(len(ranks), np.nan)
    return pd.DataFrame({"variant": variant, "n": ranks, "mean": mean, "sd": sd, "n_perturbations": n_curves})


def pool_curves(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Pool the tables of several splits, as if all their perturbations were of one.

    Returns
    -------
    pandas.DataFrame
        The columns of `describe_curves`, and published_se: sd / sqrt(n). The published code divides by the root of the
        number of genes, where a standard error has that of the perturbations.
    """
    import pandas as pd

    table = pd.concat(tables, ignore_index=True)
    table = table[table["n_perturbations"] > 0]
    count = table["n_perturbations"]
    sums = table[["variant", "n"]].assign(
        n_perturbations=count,
        total=count * table["mean"],
        squares=(count - 1) * table["sd"].fillna(0.0) ** 2 + count * table["mean"] ** 2,
    )
    pooled = sums.groupby(["variant", "n"], sort=False, as_index=False).sum()
    count, total = pooled["n_perturbations"], pooled.pop("total")
    pooled["mean"] = total / count
    deviations = (pooled.pop("squares") - count * pooled["mean"] ** 2).clip(lower=0.0)
    pooled["sd"] = np.sqrt(deviations / (count - 1).where(count > 1))
    pooled["published_se"] = pooled["sd"] / np.sqrt(pooled["n"])
    return pooled[["variant", "n", "mean", "sd", "n_perturbations", "published_se"]]
