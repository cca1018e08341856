"""The bootstrap over perturbations, its intervals and p values, and Holm's correction.

A resample of n perturbations is a vector of n counts that sum to n; the mean of a model in all resamples is then one
matrix product. The counts depend on the seed and n alone, so all models on the same perturbations share their resamples
(paired), and adding or removing a model does not change the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_BLOCK = 1000  # Resamples that are held as float64 at a time: 24 MB for 3 000 rows.


@dataclass(frozen=True)
class Bootstrap:
    """The resamples of one leaderboard, drawn once per number of perturbations."""

    resamples: int
    seed: int
    confidence: float
    _drawn: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def weights(self, n: int) -> np.ndarray:
        """Return how often each of `n` units is drawn, shape (resamples, n); each row sums to `n`."""
        if n not in self._drawn:
            rng = np.random.default_rng([self.seed, n])
            self._drawn[n] = np.concatenate([_draw(rng, size, n) for size in _blocks(self.resamples)])
        return self._drawn[n]

    def means(self, values: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Return the mean of each model in each resample, shape (n_models, resamples).

        Parameters
        ----------
        values
            Shape (n_models, n_rows), no NaN.
        units
            Unit of each row, shape (n_rows,). Units are drawn, and a drawn unit brings all its rows.
        """
        _, unit = np.unique(units, return_inverse=True)
        counts = np.bincount(unit)
        sums = np.stack([np.bincount(unit, weights=row) for row in values])
        weights = self.weights(len(counts))
        ends = np.cumsum(_blocks(self.resamples))[:-1]
        pieces = (block.astype(np.float64) for block in np.split(weights, ends))
        return np.concatenate([(sums @ piece.T) / (piece @ counts) for piece in pieces], axis=1)

    def interval(self, samples: np.ndarray, *, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the percentile interval of each row of samples; if `whole`, take values that occur."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(samples, [tail, 1 - tail], axis=1, method="inverted_cdf" if whole else "linear")
        return low, high


def _blocks(resamples: int) -> list[int]:
    """Return the sizes of the blocks in which resamples are drawn."""
    return [min(_BLOCK, resamples - start) for start in range(0, resamples, _BLOCK)]


def _draw(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """Draw `n` of `n` units with replacement, `size` times, and count them."""
    drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.uint16 if n < 65536 else np.uint32)


def two_sided_p(differences: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the two-sided bootstrap p value of each row of resampled mean differences.

    Twice the smaller share of resamples on either side of zero, zero counting for both, with one added to count and
    number so that no p value is 0 (Davison & Hinkley 1997, section 4.2; Phipson & Smyth 2010).

    Parameters
    ----------
    differences
        Shape (n_models, resamples).
    tolerance
        Differences up to this count as zero, so that the order of a sum cannot decide a tie.
    """
    below = (differences <= tolerance).sum(axis=1)
    above = (differences >= -tolerance).sum(axis=1)
    p: np.ndarray = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (differences.shape[1] + 1))
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p values for their number (Holm 1979, Scand. J. Stat. 6: 65-70); a NaN is not counted and stays NaN."""
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    corrected = np.full(p.shape, np.nan)
    steps = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    corrected[order] = np.minimum(1.0, steps)
    return corrected
