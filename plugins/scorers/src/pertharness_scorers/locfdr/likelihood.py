"""The empirical null by maximum likelihood: a normal distribution that the values about the centre are drawn from.

The N0 of N values in an interval [a, b] are taken to be null, so they follow N(delta, sigma^2) truncated to it, and
N0 / N = p0 H0 with H0 the mass of N(delta, sigma^2) in it (Efron 2007, doi 10.1214/009053606000001460, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import NamedTuple

import numpy as np

from .density import Density

MANY = 500_000
"""Above so many values R's locfdr takes a half-width of one standard deviation."""
ITERATIONS = 35
TOLERANCE = 1e-5
QUARTILE = 0.6744897501960817
"""The upper quartile of N(0, 1)."""


class Quartiles(NamedTuple):
    """The quartiles of the values."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class TruncatedFit:
    """What maximum likelihood gives, and what its precision follows from.

    `standardised` is ((a - delta) / sigma, (b - delta) / sigma); `n` and `n_inside` are N and N0; `statistics` are the
    means of z and z^2 inside; `p0_slope` is d p0 / d(delta, sigma) and `jacobian` d(delta, sigma) / d(statistics);
    `errors` holds the standard errors of delta, sigma and p0.
    """

    delta: float
    sigma: float
    p0: float
    standardised: tuple[float, float]
    n: int
    n_inside: int
    statistics: np.ndarray
    p0_slope: np.ndarray
    jacobian: np.ndarray
    errors: tuple[float, float, float]

    @property
    def sigma_right(self) -> float:
        """The standard deviation above delta: the same."""
        return self.sigma


def maximum_likelihood(values: np.ndarray, quartiles: Quartiles) -> tuple[TruncatedFit | None, tuple[str, ...]]:
    """Fit twice: in an interval about the median, then in one about the first fit; None where that fails.

    The half-width is b sigma with b = 4.3 exp(-0.26 log10 N), sigma at first from the quartiles. Above `MANY` values
    b = 1, reported by a warning, with the centre and half-width that the first rule would have given.
    """
    scale = (quartiles.high - quartiles.low) / (2 * QUARTILE)
    width = 4.3 * float(np.exp(-0.26 * np.log10(len(values))))
    first = _fit_truncated(values, quartiles.median, width * scale, 0.0, 1.0)
    warnings: tuple[str, ...] = ()
    if len(values) > MANY:
        optimal = "NA, NA" if first is None else f"{first.delta:.15g}, {width * first.sigma:.15g}"
        warnings = (
            "length(zz) > 500,000: For ML estimation, a wider interval than optimal was used.  "
            f"To use the optimal interval, rerun with mlests = c({optimal}).\n",
        )
        width = 1.0
        first = _fit_truncated(values, quartiles.median, scale, 0.0, 1.0)
    if first is None:
        return None, warnings
    return _fit_truncated(values, first.delta, width * first.sigma, first.delta, first.sigma), warnings


def _fit_truncated(values: np.ndarray, centre: float, half: float, delta: float, sigma: float) -> TruncatedFit | None:
    """Fit the truncated normal in centre +- half by damped Newton steps from `delta` and `sigma`.

    In beta = (delta / sigma^2, -1 / (2 sigma^2)) the likelihood is an exponential family in (z, z^2), so a step is
    V^-1 (observed - expected means). Step j is divided by 1 + 1/j^2, and one that leaves beta_2 < 0 is cut to a tenth;
    the end is a step below 1e-5. Damping and end are those of R's ``locmle``: values need a scale of about 1 or less.
    """
    a, b = centre - half, centre + half
    inside = values[(values >= a) & (values <= b)]
    if not len(inside):
        return None
    statistics = np.array([inside.mean(), (inside * inside).mean()])
    for iteration in range(1, ITERATIONS + 1):
        beta = np.array([delta / sigma**2, -0.5 / sigma**2])
        partial, expected, variance = _truncated_moments(delta, sigma, a, b)
        try:
            step = np.linalg.solve(variance, statistics - expected) / (1 + iteration**-2)
        except np.linalg.LinAlgError:
            return None
        new = beta + step if beta[1] + step[1] <= 0 else beta + 0.1 * step
        if not (np.isfinite(new).all() and new[1] < 0):
            return None
        delta, sigma = float(-0.5 * new[0] / new[1]), float((-2 * new[1]) ** -0.5)
        if np.linalg.norm(new - beta) < TOLERANCE:
            break
    return _with_errors(delta, sigma, (a, b), len(values), len(inside), statistics, partial, variance)


def _truncated_moments(delta: float, sigma: float, a: float, b: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return H_k = int x^k phi(x) dx between the standardised ends (k = 0..4), and mean and covariance of (z, z^2)."""
    low, high = np.array([a - delta, b - delta]) / sigma
    at_low, at_high = _phi(low), _phi(high)
    partial = np.empty(5)
    partial[0] = _mass(low, high)
    partial[1] = at_low - at_high
    for k in range(2, 5):  # by parts
        partial[k] = (k - 1) * partial[k - 2] + low ** (k - 1) * at_low - high ** (k - 1) * at_high
    raw = [  # E z^i; NaN where there is no mass inside, which the caller looks for
        sum(comb(i, k) * sigma**k * delta ** (i - k) * partial[k] for k in range(i + 1)) / partial[0] for i in range(5)
    ]
    cross = raw[3] - raw[1] * raw[2]
    variance = np.array([[raw[2] - raw[1] ** 2, cross], [cross, raw[4] - raw[2] ** 2]])
    return partial, np.array(raw[1:3]), variance


def _with_errors(
    delta: float,
    sigma: float,
    interval: tuple[float, float],
    n: int,
    n_inside: int,
    statistics: np.ndarray,
    partial: np.ndarray,
    variance: np.ndarray,
) -> TruncatedFit | None:
    """Add p0 = N0 / (N H0) and the standard errors by the delta method, with the moments of the last step as R does."""
    low, high = ((end - delta) / sigma for end in interval)
    mass, share = _mass(low, high), n_inside / n
    if mass <= 0:
        return None
    p0 = share / mass
    to_parameters = sigma**2 * np.array([[1.0, 2 * delta], [0.0, sigma]])  # d(delta, sigma) / d beta
    jacobian = to_parameters @ np.linalg.inv(variance)
    # d H0 / d delta = H1 / sigma, d H0 / d sigma = (H2 - H0) / sigma.
    p0_slope = -p0 / (sigma * mass) * np.array([partial[1], partial[2] - mass])
    covariance = jacobian @ to_parameters.T / n_inside
    p0_variance = share * (1 - share) / (n * mass**2) + p0_slope @ covariance @ p0_slope
    errors = np.sqrt([covariance[0, 0], covariance[1, 1], p0_variance])
    return TruncatedFit(
        delta=delta,
        sigma=sigma,
        p0=p0,
        standardised=(low, high),
        n=n,
        n_inside=n_inside,
        statistics=statistics,
        p0_slope=p0_slope,
        jacobian=jacobian,
        errors=(float(errors[0]), float(errors[1]), float(errors[2])),
    )


def log_fdr_errors(fit: TruncatedFit, x: np.ndarray, density: Density, inverse: np.ndarray) -> np.ndarray:
    """Return the standard error of log fdr at the bin centres `x`, from Poisson counts.

    log fdr = log p0 + log phi((x - delta) / sigma) - log sigma - log f; its slope with respect to the counts is that of
    the parameters times d log fdr / d(log p0, delta, sigma), less that of log f, which is B (B' diag(f) B)^-1 B'.

    A quirk of R's ``loccov``, reproduced: a bin is taken as inside where its centre lies between the *standardised*
    ends. Away from sigma = 1 these errors therefore mean little; the errors of delta, sigma and p0 are not concerned.
    """
    inside = (x > fit.standardised[0]) & (x < fit.standardised[1])
    moments = np.array([x - fit.statistics[0], x**2 - fit.statistics[1]]) * inside / fit.n_inside
    parameters = fit.jacobian @ moments
    log_p0 = (1 - fit.n_inside / fit.n) * inside / fit.n_inside + fit.p0_slope @ parameters / fit.p0
    deviation = x - fit.delta
    slopes = np.column_stack([np.ones(len(x)), deviation / fit.sigma**2, (deviation**2 - fit.sigma**2) / fit.sigma**3])
    influence = slopes @ np.vstack([log_p0, parameters]) - density.basis @ inverse @ density.basis.T
    errors: np.ndarray = np.sqrt(influence**2 @ density.f)
    return errors


def _phi(x: float) -> float:
    """Return the density of N(0, 1)."""
    return float(np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi))


def _mass(low: float, high: float) -> float:
    """Return the mass of N(0, 1) between two values."""
    from scipy.special import ndtr

    return float(ndtr(high) - ndtr(low))
