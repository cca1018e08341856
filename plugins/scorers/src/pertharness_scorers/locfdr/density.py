"""The mixture density: values are counted in bins, and a smooth curve is fitted to the counts.

Lindsey's method: the count of bin k is Poisson with mean f_k, and log f is a natural cubic spline of the bin centre
(Efron 2004, doi 10.1198/016214504000000089, section 3; Efron 2007, doi 10.1214/009053606000001460, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .no_null import NoNull

EPSILON = float(np.finfo(float).eps)
EDGE_FUZZ = 1e-7
"""R's ``hist`` moves breaks outwards by this share of a bin, so that rounding takes no value off its edge."""
MISFIT = 1.5
"""Above this mean squared residual R's locfdr warns."""
RUNAWAY = 2.0
"""The total of a fitted curve is that of the counts; one so many times larger or smaller has run away."""


@dataclass(frozen=True)
class Bins:
    """Counts of the values in equal bins.

    `x` holds the bin centres, `counts` all values, `fitted` what the curve is fitted to: as `counts`, but at most 1 in
    the two end bins where values were clipped into them. All of shape (n_bins,).
    """

    x: np.ndarray
    counts: np.ndarray
    fitted: np.ndarray


@dataclass(frozen=True)
class Density:
    """The curve `f` at the bin centres, (n_bins,), on the scale of counts, and its `basis`, (n_bins, df + 1)."""

    f: np.ndarray
    basis: np.ndarray
    warnings: tuple[str, ...]


def count_bins(values: np.ndarray, bins: int, pct: float) -> Bins:
    """Count values between `bins` equidistant breaks, as R's ``hist`` does: each bin holds its right edge.

    Parameters
    ----------
    values
        Shape (n,), finite, not all equal.
    bins
        Number of breaks; there is one bin less.
    pct
        0: from the smallest to the largest value. Above 0: between the quantiles `pct` and 1 - `pct`; values beyond are
        clipped to them. Below 0: the range is stretched about the median by 1 - `pct`.
    """
    low, high = _range(values, pct)
    breaks = np.linspace(low, high, bins)
    edges = breaks + EDGE_FUZZ * (breaks[1] - breaks[0])
    edges[0] = breaks[0] - EDGE_FUZZ * (breaks[1] - breaks[0])
    inner = np.clip(values, low, high) if pct > 0 else values
    counts = np.bincount(np.searchsorted(edges, inner, side="left") - 1, minlength=bins - 1).astype(float)
    fitted = counts.copy()
    if pct > 0:
        fitted[[0, -1]] = np.minimum(counts[[0, -1]], 1.0)
    return Bins(x=(breaks[1:] + breaks[:-1]) / 2, counts=counts, fitted=fitted)


def _range(values: np.ndarray, pct: float) -> tuple[float, float]:
    """Return the outermost breaks."""
    if pct > 0:
        low, high = np.quantile(values, [pct, 1 - pct])
    else:
        median = np.median(values) if pct < 0 else 0.0
        low, high = (median + (1 - pct) * (end - median) for end in (values.min(), values.max()))
    return float(low), float(high)


def natural_basis(x: np.ndarray, df: int) -> np.ndarray:
    """Return a constant and `df` functions that span natural cubic splines with df - 1 inner knots at quantiles of `x`.

    The functions are those of R's ``ns``: B-splines without the first, turned so that the second derivative is 0 at
    both ends. Another basis fits the same curve; this one has R's condition number too, which decides what is
    singular.
    """
    from scipy.interpolate import BSpline

    inner = np.quantile(x, np.linspace(0.0, 1.0, df + 1))
    knots = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
    splines = BSpline(knots, np.eye(df + 3), 3)
    curvature = splines.derivative(2)(inner[[0, -1]])[:, 1:]
    turned = splines(x)[:, 1:] @ np.linalg.qr(curvature.T, mode="complete")[0]
    return np.column_stack([np.ones(len(x)), turned[:, 2:]])


def fit_density(bins: Bins, df: int, outliers: tuple[str, str]) -> Density:
    """Fit the curve by Poisson regression, iterated as R's ``glm`` does: until the deviance changes by 1e-8 of itself.

    Raises
    ------
    NoNull
        If the iterations run away, as they may where far outliers leave most bins empty; with `outliers`, which these
        are and what to do.
    """
    basis = natural_basis(bins.x, df)
    try:  # statsmodels refuses weights that are not finite by a ValueError
        f, converged = _poisson_regression(basis, bins.fitted)
        growth = f.sum() / bins.fitted.sum()
    except (ValueError, np.linalg.LinAlgError):
        growth = np.nan
    if not 1 / RUNAWAY < growth < RUNAWAY:
        empty = f"{int((bins.counts == 0).sum())} of {len(bins.x)} bins are empty"
        which, remedy = outliers
        raise NoNull(f"the fit of a curve to the histogram ran away; {empty}{which}", remedy)
    warnings = []
    if not converged:
        warnings.append("glm.fit: algorithm did not converge")
    if (f < 10 * EPSILON).any():
        warnings.append("glm.fit: fitted rates numerically 0 occurred")
    # Pearson residuals, the ends left out: sum (y - f)^2 / (f + 1) / (K - 2 - df), near 1 where the curve fits.
    residuals = ((bins.fitted - f) ** 2 / (f + 1))[1:-1]
    misfit = residuals.sum() / (len(f) - 2 - df)
    if misfit > MISFIT:
        warnings.append(f"f(z) misfit = {round(float(misfit), 1):.15g}.  Rerun with increased df")
    return Density(f=f, basis=basis, warnings=tuple(warnings))


def _poisson_regression(basis: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the fitted means, at least `EPSILON`, and whether at most 25 iterations sufficed."""
    from statsmodels.genmod.families import Poisson, links
    from statsmodels.genmod.generalized_linear_model import GLM

    class FlooredLog(links.Log):  # type: ignore[misc]  # statsmodels has no types
        """A log link that, as R's, takes no mean below `EPSILON`: empty stretches of the histogram stay finite."""

        def inverse(self, z: Any) -> Any:
            return np.maximum(np.exp(z), EPSILON)

        def inverse_deriv(self, z: Any) -> Any:
            return self.inverse(z)

    # R starts from mu = counts + 0.1: its first iteration is this weighted least squares, weights mu.
    mu = counts + 0.1
    working = np.log(mu) + (counts - mu) / mu
    start = np.linalg.lstsq(basis * np.sqrt(mu)[:, None], working * np.sqrt(mu), rcond=None)[0]
    model = GLM(counts, basis, family=Poisson(FlooredLog()))
    result = _quietly(model, start)
    return np.asarray(result.mu, dtype=float), bool(result.converged)


def _quietly(model: Any, start: np.ndarray) -> Any:
    """Fit with R's stopping rule, |change| <= 1e-9 + 1e-8 deviance; statsmodels' warnings are ours to say."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(start_params=start, maxiter=24, tol=1e-9, rtol=1e-8, tol_criterion="deviance")
