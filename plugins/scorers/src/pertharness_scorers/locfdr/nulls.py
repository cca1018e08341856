"""The null asked for, and the others beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .checks import outliers
from .density import EPSILON, Density
from .likelihood import Quartiles, TruncatedFit, log_fdr_errors, maximum_likelihood
from .matching import MatchedNull, match_centre, match_theoretical
from .no_null import NoNull

if TYPE_CHECKING:
    import pandas as pd

NullName = Literal["mle", "theoretical", "central_matching", "split"]
DISCREPANT = 0.05
"""R warns if central matching and maximum likelihood differ by more than this in delta, or in log sigma."""
CM_FAILED = "CM estimation failed, middle of histogram non-normal"
ML_FAILED = "ML estimation failed"
DISCREPANCY = (
    "Discrepancy between central matching and maximum likelihood estimates.\nConsider rerunning with nulltype = 1"
)
NO_ERRORS = (
    "standard errors are not available: the matrix of the curve is singular to working precision, as empty stretches "
    "beside far outliers make it"
)
"""R stops here; the estimates do not need the matrix."""
FP0_ROWS = ("thest", "theSD", "mlest", "mleSD", "cmest", "cmeSD")


@dataclass(frozen=True)
class Nulls:
    """The estimates, None where one failed; and the one asked for, its log fdr's standard error per bin beside it."""

    theoretical: MatchedNull
    likely: TruncatedFit | None
    matched: MatchedNull | None
    chosen: MatchedNull | TruncatedFit
    log_fdr_errors: np.ndarray
    warnings: tuple[str, ...]


def middle_bins(values: np.ndarray, quartiles: Quartiles, x: np.ndarray) -> np.ndarray:
    """Return which bins have their centre between the quartiles.

    Raises
    ------
    NoNull
        If none has.
    """
    middle = (x > quartiles.low) & (x < quartiles.high)
    if not middle.any():
        raise NoNull(*_few_bins(values, quartiles, len(x), 0))
    return middle


def estimate_nulls(
    values: np.ndarray, quartiles: Quartiles, x: np.ndarray, middle: np.ndarray, density: Density, name: NullName
) -> Nulls:
    """Estimate every null.

    Raises
    ------
    NoNull
        If the requested one cannot be estimated.
    """
    n = len(values)
    inverse = _inverse(density)
    theoretical = match_theoretical(x, density, middle, n, inverse)
    matched = match_centre(x, density, middle, n, inverse, split=name == "split")
    likely, fit_warnings = maximum_likelihood(values, quartiles)
    chosen = {"mle": likely, "theoretical": theoretical}.get(name, matched)
    if chosen is None:
        cause, remedy = _no_likelihood(quartiles) if name == "mle" else _no_match(values, quartiles, middle)
        raise NoNull(f"null={name!r} cannot be estimated: {cause}", remedy)
    discrepant = name in ("central_matching", "split") and likely is not None and _differ(chosen, likely)
    warnings = (
        *([CM_FAILED] if matched is None else []),
        *fit_warnings,
        *([ML_FAILED] if likely is None else []),
        *([DISCREPANCY] if discrepant else []),
        *([NO_ERRORS] if inverse is None else []),
    )
    if isinstance(chosen, MatchedNull):
        errors = chosen.log_fdr_errors
    else:
        errors = np.full(len(x), np.nan) if inverse is None else log_fdr_errors(chosen, x, density, inverse)
    return Nulls(theoretical, likely, matched, chosen, errors, warnings)


def _inverse(density: Density) -> np.ndarray | None:
    """Return (B' diag(f) B)^-1, the covariance of the coefficients of log f; None where R's ``solve`` stops."""
    information = density.basis.T @ (density.f[:, None] * density.basis)
    try:
        inverse = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return None
    condition = np.abs(information).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max()
    return inverse if condition * EPSILON <= 1 else None


def _differ(matched: MatchedNull | TruncatedFit, likely: TruncatedFit) -> bool:
    """Return whether the two estimates are so different that one of them is doubtful."""
    return bool(
        abs(matched.delta - likely.delta) > DISCREPANT or abs(np.log(matched.sigma / likely.sigma)) > DISCREPANT
    )


def _no_match(values: np.ndarray, quartiles: Quartiles, middle: np.ndarray) -> tuple[str, str]:
    """Return why central matching failed, and what to do."""
    if middle.sum() < 3:
        cause, remedy = _few_bins(values, quartiles, len(middle), int(middle.sum()))
        return cause, f"{remedy}; or take null='mle'"
    return (
        f"log f has no peak between the quartiles {quartiles.low:.6g} and {quartiles.high:.6g} that a normal density "
        "would have",
        "look at the histogram, or take null='mle'",
    )


def _few_bins(values: np.ndarray, quartiles: Quartiles, n_bins: int, inner: int) -> tuple[str, str]:
    """Return that the bins are too wide for the values between the quartiles, and the remedy."""
    which, remedy = outliers(values, quartiles, n_bins + 1)
    return (
        f"{inner} of {n_bins} bins lie between the quartiles {quartiles.low:.6g} and {quartiles.high:.6g}, expected at "
        f"least 3{which}",
        remedy,
    )


def _no_likelihood(quartiles: Quartiles) -> tuple[str, str]:
    """Return why maximum likelihood failed, and what to do."""
    return (
        f"the values between the quartiles {quartiles.low:.6g} and {quartiles.high:.6g} do not look normal, or are too "
        "far from where the iteration starts, N(0, 1)",
        "bring them near 0 and to a scale of about 1, or take null='central_matching'",
    )


def null_table(nulls: Nulls, *, split: bool) -> pd.DataFrame:
    """Return all estimates and their standard errors: rows `FP0_ROWS`, columns delta, sigma, p0 (and sigright)."""
    import pandas as pd

    rows = []
    for null, has_right in ((nulls.theoretical, False), (nulls.likely, False), (nulls.matched, split)):
        if null is None:
            rows += [[np.nan] * 4] * 2
            continue
        right = (null.sigma_right, null.errors[1]) if has_right else (np.nan, np.nan)
        rows += [[null.delta, null.sigma, null.p0, right[0]], [*null.errors, right[1]]]
    table = pd.DataFrame(rows, index=list(FP0_ROWS), columns=["delta", "sigleft", "p0", "sigright"])
    return table if split else table.drop(columns="sigright").rename(columns={"sigleft": "sigma"})
