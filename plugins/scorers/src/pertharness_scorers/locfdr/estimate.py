"""Efron's local false discovery rate: fdr(z) = p0 f0(z) / f(z), the share of null values among those near z.

The method of R's ``locfdr`` 1.1-8, from Efron 2004 (doi 10.1198/016214504000000089), Efron 2007 (doi
10.1214/009053606000001460) and what is known of how the package works; own code, tested against its outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .checks import check_options, checked_values, outliers, quartiles_of
from .density import Bins, Density, count_bins, fit_density
from .no_null import NoNull
from .nulls import NullName, Nulls, estimate_nulls, middle_bins, null_table
from .table import Rates, bin_rates, level_crossings, non_null_distribution

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LocalFdr:
    """What `locfdr` gives.

    Attributes
    ----------
    fdr
        The local false discovery rate of each value, shape (n,).
    null, delta, sigma, sigma_right, p0
        The null asked for: its name, its centre, its standard deviation (if it is split, to the left of delta), that to
        the right, and the share of null values.
    delta_se, sigma_se, p0_se
        Their standard errors; NaN where there are none.
    fp0
        All nulls: rows theoretical (thest), maximum likelihood (mlest) and central matching (cmest), each followed by
        its standard errors (theSD, mleSD, cmeSD); columns delta, sigma, p0, if split delta, sigleft, p0, sigright.
    efdr
        Expected fdr of a value that is not null, small where power is high: in all, left and right of the centre, for
        the null asked for (Efdr, Eleft, Eright) and the theoretical one (Efdrtheo, Eleft0, Eright0). With the
        theoretical null the first three are of maximum likelihood, as in R.
    z2
        Where fdr falls to 0.2, left and right; NaN where it does not.
    mat
        The table of bins: centre x, fdr, tail rates Fdrleft and Fdrright, densities f, f0 and f0theo on the scale of
        counts, fdrtheo, counts, lfdrse (standard error of log fdr), p1f1 (density of the values that are not null).
        With the theoretical null, fdr and f0 are of maximum likelihood, as in R.
    cdf1
        Distribution of fdr among the values that are not null, shape (99, 2): fdr 0.01 .. 0.99, share at or below.
    warnings
        What R warns of, in its words and order, and what we add. They are facts about the data that belong beside the
        numbers, which is why they are returned rather than raised.
    """

    fdr: np.ndarray
    null: NullName
    delta: float
    sigma: float
    sigma_right: float
    p0: float
    delta_se: float
    sigma_se: float
    p0_se: float
    fp0: pd.DataFrame
    efdr: dict[str, float]
    z2: tuple[float, float]
    mat: pd.DataFrame
    cdf1: np.ndarray
    warnings: tuple[str, ...]


def locfdr(values: np.ndarray, *, null: NullName = "mle", bins: int = 120, df: int = 7, pct: float = 0.0) -> LocalFdr:
    """Estimate the local false discovery rate of each value.

    Parameters
    ----------
    values
        Shape (n,), at least 500; about 0 and on a scale of about 1 or less, as z-scores or log fold changes are.
    null
        ``mle``: N(delta, sigma^2) by maximum likelihood from the values about the median (R's nulltype 1);
        ``theoretical``: N(0, 1) (0); ``central_matching``: a parabola matched to log f between the quartiles (2);
        ``split``: the same with a standard deviation on either side (3).
    bins
        Number of breaks of the histogram, R's `bre`; there is one bin less.
    df
        Degrees of freedom of the natural spline that log f is.
    pct
        Share of the values at each end that the histogram clips; if negative, it stretches the range instead.

    Raises
    ------
    NoNull
        If the values cannot be used, or where R stops: no bin between the quartiles (far outliers), or the null asked
        for cannot be estimated. It never turns to another null.
    RecipeError
        If an option means nothing.
    """
    check_options(null, bins, df, pct)
    values = checked_values(values)
    quartiles = quartiles_of(values)
    with np.errstate(all="ignore"):  # what is not finite is looked for where it matters
        counted = count_bins(values, bins, pct)
        middle = middle_bins(values, quartiles, counted.x)
        density = fit_density(counted, df, outliers(values, quartiles, bins))
        nulls = estimate_nulls(values, quartiles, counted.x, middle, density, null)
        rates = bin_rates(counted, density, nulls, null)
    fdr = np.interp(values, counted.x, rates.chosen)
    if not np.isfinite(fdr).all():
        which, remedy = outliers(values, quartiles, bins)
        raise NoNull(f"null={null!r} gives no finite rate for these values{which}", remedy)
    chosen = nulls.chosen
    return LocalFdr(
        fdr=fdr,
        null=null,
        delta=chosen.delta,
        sigma=chosen.sigma,
        sigma_right=chosen.sigma_right,
        p0=chosen.p0,
        delta_se=chosen.errors[0],
        sigma_se=chosen.errors[1],
        p0_se=chosen.errors[2],
        fp0=null_table(nulls, split=null == "split"),
        efdr=rates.expected,
        z2=level_crossings(counted.x, rates.chosen),
        mat=_bin_table(counted, density, nulls, rates),
        cdf1=non_null_distribution(rates.chosen, rates.f1),
        warnings=(*density.warnings, *nulls.warnings),
    )


def _bin_table(counted: Bins, density: Density, nulls: Nulls, rates: Rates) -> pd.DataFrame:
    """Return the table of bins under R's names."""
    import pandas as pd

    return pd.DataFrame(
        {
            "x": counted.x,
            "fdr": rates.fdr,
            "Fdrleft": rates.tail_left,
            "Fdrright": rates.tail_right,
            "f": density.f,
            "f0": rates.f0,
            "f0theo": rates.f0_theoretical,
            "fdrtheo": rates.fdr_theoretical,
            "counts": counted.counts,
            "lfdrse": nulls.log_fdr_errors,
            "p1f1": rates.f1,
        }
    )
