"""The null by central matching, and p0 of the theoretical null: log f near the centre is that of the null.

Between the quartiles of the values, where nearly all are null, log(p0 f0) = log f. A parabola in x makes f0 normal with
mean delta and standard deviation sigma; one with another curvature to the right of the mode a split normal
(Efron 2004, doi 10.1198/016214504000000089, section 4; Efron 2007, doi 10.1214/009053606000001460, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .density import Density

RANK_TOLERANCE = 1e-7
"""R's ``lm`` takes a column as dependent on those before when this share of its length, or less, is left."""
NAN = float("nan")


@dataclass(frozen=True)
class MatchedNull:
    """A null matched to the density.

    `sigma` and `sigma_right` are equal unless the null is split. `f0` is its density at the bin centres, on the scale
    of counts. `errors` holds the standard errors of delta, sigma and p0, and `log_fdr_errors` that of log fdr at the
    bin centres; all NaN where the matrix of the curve is singular.
    """

    delta: float
    sigma: float
    sigma_right: float
    p0: float
    f0: np.ndarray
    errors: tuple[float, float, float]
    log_fdr_errors: np.ndarray


def match_centre(
    x: np.ndarray, density: Density, middle: np.ndarray, n: int, inverse: np.ndarray | None, *, split: bool
) -> MatchedNull | None:
    """Match a normal, or a split normal, to log f in the bins `middle` by least squares.

    None where they are too few, or where log f is not concave there.
    """
    mode = float(x[np.argmax(density.f)])
    u = x - mode
    columns = (u**2, np.maximum(u, 0.0) ** 2) if split else (u, u**2)
    terms = np.column_stack([np.ones(len(x)), *columns])
    if not _full_rank(terms[middle]):
        return None
    solver = np.linalg.pinv(terms[middle])  # log f in the middle -> coefficients of log(p0 f0)
    constant, second, third = solver @ np.log(density.f)[middle]
    curvatures = np.array([second, second + third]) if split else np.array([third, third])
    if (curvatures >= 0).any():
        return None
    sigma, sigma_right = (float(value) for value in (-2 * curvatures) ** -0.5)
    delta = mode if split else float(mode - second / (2 * third))
    log_p0_f0 = terms @ np.array([constant, second, third])
    p0 = float(np.exp(log_p0_f0).sum() / density.f.sum())
    errors, log_fdr = (NAN, NAN, NAN), np.full(len(x), NAN)
    if inverse is not None:
        errors = _errors(solver, density, middle, n, inverse, (delta, sigma, p0))
        log_fdr = _log_fdr_errors(terms @ solver, density, middle, inverse)
    return MatchedNull(delta, sigma, sigma_right, p0, null_counts(log_p0_f0, density.f), errors, log_fdr)


def match_theoretical(
    x: np.ndarray, density: Density, middle: np.ndarray, n: int, inverse: np.ndarray | None
) -> MatchedNull:
    """Return N(0, 1) with the p0 that makes its mass in the bins `middle` that of the density."""
    null = null_counts(-(x**2) / 2, density.f)
    p0 = float(density.f[middle].sum() / null[middle].sum())
    error, log_fdr = NAN, np.full(len(x), NAN)
    if inverse is not None:
        average = np.full((1, int(middle.sum())), 1 / middle.sum())
        slope = average @ density.basis[middle] @ inverse @ density.basis.T - 1 / n
        error = p0 * float(_multinomial_sd(slope, density.f)[0])
        log_fdr = _log_fdr_errors(np.repeat(average, len(x), axis=0), density, middle, inverse)
    return MatchedNull(0.0, 1.0, 1.0, p0, null, (0.0, 0.0, error), log_fdr)


def _errors(
    solver: np.ndarray,
    density: Density,
    middle: np.ndarray,
    n: int,
    inverse: np.ndarray,
    estimates: tuple[float, float, float],
) -> tuple[float, float, float]:
    """Return the standard errors of delta, sigma and p0 by the delta method.

    With log(p0 f0) = c0 + c1 x + c2 x^2: d log p0 = (1, delta, delta^2 + sigma^2) dc, d delta = sigma^2 dc1 + 2 delta
    sigma^2 dc2, d sigma = sigma^3 dc2. A quirk of R's ``loccov2``, reproduced: its c belong to x less the mode, for
    which delta should be taken from the mode as well, and a split normal is treated as a whole one.
    """
    delta, sigma, p0 = estimates
    to_parameters = np.array(
        [
            [1.0, delta, sigma**2 + delta**2],
            [0.0, sigma**2, 2 * delta * sigma**2],
            [0.0, 0.0, sigma**3],
        ]
    )
    slopes = to_parameters @ solver @ density.basis[middle] @ inverse @ density.basis.T
    slopes[0] -= 1 / n
    log_p0, of_delta, of_sigma = _multinomial_sd(slopes, density.f)
    return float(of_delta), float(of_sigma), p0 * float(log_p0)


def null_counts(log_f0: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return f0 at the bin centres with the sum of `f`, from its logarithm up to a constant."""
    f0: np.ndarray = np.exp(log_f0 - log_f0.max())
    f0 *= f.sum() / f0.sum()
    return f0


def _multinomial_sd(slopes: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Return sqrt(sum s_k^2 f_k - (sum s_k f_k)^2 / sum f), the sd of sum s_k y_k for multinomial counts."""
    sd: np.ndarray = np.sqrt(np.maximum(slopes**2 @ f - (slopes @ f) ** 2 / f.sum(), 0.0))
    return sd


def _log_fdr_errors(smoother: np.ndarray, density: Density, middle: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the standard errors of log fdr = log(p0 f0) - log f: both are linear in the coefficients of log f."""
    difference = smoother @ density.basis[middle] - density.basis
    errors: np.ndarray = np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", difference, inverse, difference), 0.0))
    return errors


def _full_rank(terms: np.ndarray) -> bool:
    """Return whether no column depends on those before it."""
    if len(terms) < terms.shape[1]:
        return False
    diagonal = np.abs(np.diag(np.linalg.qr(terms)[1]))
    return bool((diagonal > RANK_TOLERANCE * np.linalg.norm(terms, axis=0)).all())
