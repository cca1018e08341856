"""Detect the scale of expression values by the total of each cell, not by the size of values.

The expm1 of log1p of counts per 10 000 add up to 10 000 in each cell with all its genes, and to less if genes were left
out later. Counts normalised to another total add up to that total. Logs of raw counts have whole numbers as expm1. If
another transformation than the natural logarithm was used, the totals of its inverse are constant. If no totals are
constant, the inverted values of a cell are still whole multiples of the smallest one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pertharness.data.streaming import stored_values
from pertharness.datasets.multiples import (
    TOLERANCE,
    are_per_10_000,
    find_by_multiples,
    find_by_totals,
    follow_depth,
    n_whole,
    was_logged_before,
)
from pertharness.datasets.rounding import rounding_errors
from pertharness.datasets.transformations import NATURAL, TOTAL, TRANSFORMATIONS

SAMPLED_CELLS = 10_000
"""Number of cells, spread over the whole file, that other transformations are tried on."""
_KEPT_CELLS, _KEPT_VALUES = 500, 4_000_000
"""Number of these cells whose values are stored for closer checks, and largest number of stored values."""
_SPREAD = 2e-4
"""Largest relative spread of a constant total; leaving out 1 % of 1 000 000 counts per cell gives 3e-4 (Poisson)."""
_ROUNDING = 1e-5
"""Relative change of a total by rounding to float32."""
_MOST_FOR_FEW = 2_000
"""Number of cells that are examined for batches with totals that are close to each other."""
_APART = 0.05
"""Smallest relative distance to 10 000 at which a few differing cells are taken to have another total."""
_OTHERS = tuple(name for name in TRANSFORMATIONS if name != NATURAL)


@dataclass
class Evidence:
    """The data that one pass over the values of cells collects for ``judge``.

    Attributes
    ----------
    sums
        Sums of expm1 over the genes of each cell, shape (n_obs,), float64; infinite if values are not logarithms.
    sampled
        Indices of the rows that other transformations were tried on, one array per chunk.
    other_sums
        Transformation -> sums of its inverse in the rows ``sampled``; empty if all cells are at 10 000.
    row_values
        Row -> its non-zero values, float64.
    """

    sums: np.ndarray
    sampled: list[np.ndarray] = field(default_factory=list)
    other_sums: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in _OTHERS})
    row_values: dict[int, np.ndarray] = field(default_factory=dict)
    n_values: int = 0

    def add(self, chunk: Any, start: int) -> None:
        """Add rows, of which the first has the index `start`; they must not have negative values."""
        n_obs, n_rows = len(self.sums), chunk.shape[0]
        sums = self.sums[start : start + n_rows] = sums_of(chunk, np.expm1)
        rows = np.arange(start, start + n_rows)
        rows = rows[rows % max(1, n_obs // SAMPLED_CELLS) == 0]
        if not len(rows):
            return
        part = chunk if len(rows) == n_rows else chunk[rows - start]
        if _is_other(sums).any():
            self.sampled.append(rows)
            for name, other_sums in self.other_sums.items():
                other_sums.append(sums_of(part, TRANSFORMATIONS[name].inverse))
        step = max(1, min(n_obs, SAMPLED_CELLS) // _KEPT_CELLS)
        for row in rows[np.arange(len(rows)) % step == 0]:
            if self.n_values < _KEPT_VALUES:
                values = _values_of_row(chunk, row - start)
                self.row_values[int(row)] = values[values > 0].astype(np.float64)
                self.n_values += len(self.row_values[int(row)])


def _values_of_row(chunk: Any, row: int) -> np.ndarray:
    """Return the stored values of a row of a chunk; indexing by scipy takes ten times as long."""
    values: np.ndarray = (
        chunk[row] if isinstance(chunk, np.ndarray) else chunk.data[chunk.indptr[row] : chunk.indptr[row + 1]]
    )
    return values


def _is_other(sums: np.ndarray) -> np.ndarray:
    """Return a mask of the rows with positive values whose expm1 do not add up to 10 000."""
    other: np.ndarray = (sums > 0) & ~(np.abs(sums / TOTAL - 1) <= TOLERANCE)
    return other


def sums_of(chunk: Any, inverse: Callable[[np.ndarray], np.ndarray], dtype: Any = np.float32) -> np.ndarray:
    """Return the sums of inverted values over the genes, shape (n_rows,), float64.

    `dtype` is the type of the inverted values. With float32, sums have a relative error of about 1e-6 and are ten times
    as fast as with float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = inverse(stored_values(chunk).astype(dtype, copy=False))
        if isinstance(chunk, np.ndarray):
            sums: np.ndarray = values.reshape(chunk.shape).sum(axis=1).astype(np.float64)
            return sums
        sums = np.zeros(chunk.shape[0])
        filled = np.diff(chunk.indptr) > 0
        if filled.any():
            sums[filled] = np.add.reduceat(values, chunk.indptr[:-1][filled])
        return sums


@dataclass(frozen=True)
class ScaleReading:
    """The detected scale of the values of cells.

    Attributes
    ----------
    kind
        ``cp10k``: each cell adds up to 10 000. ``subset``: cells add up to less, because genes were left out.
        ``constant``: cells add up to another total, or to one of a few. ``whole``: made from raw counts. ``above``:
        cells add up to more than 10 000, with varying totals. ``other``: made from counts with an unknown total.
        ``again``: log1p of counts per 10 000 that was normalised and logged once more. ``depth``: totals grow with the
        counts of cells, so these are counts with fractions that were not normalised.
    total
        Median total of kind ``constant``.
    row
        First row that is not at 10 000.
    factor
        Factor that scales inverted values to 10 000, if the total includes genes that are not in the file.
    """

    kind: str
    transformation: str = NATURAL
    total: float = TOTAL
    low: float = TOTAL
    high: float = TOTAL
    row: int = 0
    n_other: int = 0
    n_empty: int = 0
    factor: float | None = None


def judge(evidence: Evidence, totals: np.ndarray | None = None) -> ScaleReading:
    """Return the scale of values from the collected evidence.

    Parameters
    ----------
    totals
        Total counts of each cell over all genes, from ``obs``; shape (n_obs,). They reveal the total if genes were left
        out.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _judge(evidence, totals)


def _judge(evidence: Evidence, totals: np.ndarray | None) -> ScaleReading:
    """Try the explanations one by one, the simplest first."""
    sums = evidence.sums
    is_other = _is_other(sums)
    n_empty = int((sums == 0).sum())
    if not is_other.any():
        again = was_logged_before([values for values in evidence.row_values.values() if len(values)])
        return ScaleReading("again" if again else "cp10k", n_empty=n_empty)
    others = sums[is_other]
    low, high = np.quantile(others, (0.05, 0.95), method="nearest")
    facts = {
        "low": float(low), "high": float(high), "row": int(np.argmax(is_other)), "n_other": len(others),
        "n_empty": n_empty,
    }  # fmt: skip
    cells = [values for row, values in evidence.row_values.items() if is_other[row] and len(values)]
    explanation = _find_constant(evidence, is_other, cells) or _find_whole(cells)
    if explanation is None:
        rows = [row for row in evidence.row_values if is_other[row] and len(evidence.row_values[row])]
        if totals is not None:
            explanation = find_by_totals(cells, totals[rows], float(np.median(totals)))
        explanation = explanation or find_by_multiples(cells, None if totals is None else totals[rows])
    is_natural = explanation is None or (explanation["kind"] == "other" and explanation["transformation"] == NATURAL)
    if is_natural and others.max() > TOTAL * (1 + TOLERANCE):  # the total is unknown, but not needed
        first = int(np.argmax(sums > TOTAL * (1 + TOLERANCE)))
        explanation = {"kind": "above", "row": first, "high": float(others.max())}
    if explanation is None and follow_depth(sums, totals, cells):
        explanation = {"kind": "depth"}
    return ScaleReading(**{"kind": "subset", **facts, **(explanation or {})})


def _find_constant(evidence: Evidence, is_other: np.ndarray, cells: list[np.ndarray]) -> dict[str, Any] | None:
    """Return the transformation whose inverse has one total in all cells, or one of a few totals; None if none has."""
    sampled = np.concatenate(evidence.sampled)
    # If most rows are not at 10 000, rows near 10 000 belong to the same distribution of totals.
    is_rare = is_other.sum() < (evidence.sums > 0).sum() / 2
    is_meant = is_other if is_rare else evidence.sums > 0
    few = False
    spreads: dict[str, tuple[float, float]] = {}
    for name in TRANSFORMATIONS:
        most = 4 * _noise(cells, TRANSFORMATIONS[name].inverse)
        if name == NATURAL:
            sums, noise, least = evidence.sums[is_meant], most, _least_spread(cells)
            most = max(_SPREAD, min(noise, least))
            # If rounding hides the variation of sums, cell types would look like batches.
            is_clear = noise < least / 3
            few = _is_of_few(sums, most) or (is_clear and _is_of_few(_thinned(sums), max(_ROUNDING, noise), 5))
        else:
            sums, most = np.concatenate(evidence.other_sums[name])[is_meant[sampled]], max(_SPREAD, most)
        total = float(np.median(sums)) if len(sums) else 0.0
        is_apart = not is_rare or (len(sums) >= 10 and (name != NATURAL or abs(total / TOTAL - 1) > _APART))
        if is_apart and (spread := _spread_of(sums)) < most:
            spreads[name] = spread, total
    if len(spreads) == len(TRANSFORMATIONS):  # identical rows have constant totals under any transformation
        return None
    if spreads:  # for values far below 1, several transformations are nearly the identity
        name = min(spreads, key=lambda name: spreads[name])
        return {"kind": "constant", "transformation": name, "total": spreads[name][1]}
    few = few and not are_per_10_000(cells)  # cells with equal numbers of counts also have few sums
    return {"kind": "constant", "total": float(np.median(evidence.sums[is_other]))} if few else None


def _least_spread(cells: list[np.ndarray]) -> float:
    """Return a relative spread that totals of log1p of counts per 10 000 exceed if genes were left out.

    The number of a cell's counts in the remaining genes varies at least like a binomial number. The smallest value of a
    cell gives its number of counts. A third of this spread is returned, so that a few cells suffice.
    """
    if len(cells) < 10:
        return np.inf
    shares = np.array([np.expm1(values).sum() for values in cells]) / TOTAL
    n_counts = TOTAL / np.expm1([values.min() for values in cells])
    share = float(np.clip(np.median(shares), 1e-6, 1))
    return float(np.sqrt((1 - share) / (share * np.median(n_counts))) / 3)


def _noise(cells: list[np.ndarray], inverse: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the relative standard deviation of a cell's total that is due to rounding of its values."""
    if not cells:
        return 0.0
    errors = rounding_errors(cells)
    moved = [inverse(x + e) - inverse(x) for x, e in zip(cells, errors, strict=True)]
    noise = [np.sqrt((m**2).sum() / 3) / inverse(x).sum() for x, m in zip(cells, moved, strict=True)]
    middle = float(np.median(noise))
    return middle if np.isfinite(middle) else 0.0


def have_one_total(evidence: Evidence) -> bool:
    """Return whether nearly all rows have the same total of expm1, and are not identical."""
    squares = evidence.other_sums["sqrt"]
    are_alike = bool(squares) and _spread_of(np.concatenate(squares)) < _SPREAD
    return _spread_of(evidence.sums) < _SPREAD and not are_alike


def _spread_of(sums: np.ndarray) -> float:
    """Return half the relative range of the middle two thirds of sums, or of all if there are fewer than ten."""
    if len(sums) < 3 or not np.isfinite(sums).all():
        return np.inf
    low, middle, high = np.quantile(sums, (0.16, 0.5, 0.84) if len(sums) >= 10 else (0, 0.5, 1))
    return float((high - low) / 2 / middle) if middle > 0 else np.inf


def _thinned(sums: np.ndarray) -> np.ndarray:
    """Return some of the sums, few enough that unrelated cells rarely have the same sum by chance."""
    return sums[:: -(-len(sums) // _MOST_FOR_FEW)]


def _is_of_few(sums: np.ndarray, spread: float, apart: float = 20) -> bool:
    """Return whether nearly all sums are one of a few, such as if each batch was normalised to its own median.

    `spread` is the relative spread of the sums within a batch; batches are at least `apart` times that apart.
    """
    if len(sums) < 50 or not np.isfinite(sums).all() or not (sums > 0).all():
        return False
    logs = np.sort(np.log(sums))

    def n_within(width: float) -> np.ndarray:
        return np.searchsorted(logs, logs + width, "right") - np.searchsorted(logs, logs - width, "left")

    near, around = n_within(2 * spread), n_within(2 * apart * spread)
    return bool(np.mean((near >= 5) & (near >= 0.8 * around)) >= 0.9)


def _find_whole(cells: list[np.ndarray]) -> dict[str, Any] | None:
    """Return the transformation of whole numbers that were not normalised; None if there is none."""
    errors = rounding_errors(cells)
    for name in (name for name in TRANSFORMATIONS if name != "none"):
        inverse = TRANSFORMATIONS[name].inverse
        n_near = n_all = n_distinct = divisor = 0
        for values, error in zip(cells, errors, strict=True):
            numbers = inverse(values)
            blur = 1.5 * (inverse(values + error) - numbers)
            clear = blur < 0.05
            n_all += int(clear.sum())
            n_near += n_whole(numbers[clear], blur[clear])
            distinct = np.unique(np.rint(numbers[clear]).astype(np.int64))
            n_distinct = max(n_distinct, len(distinct))
            divisor = int(np.gcd.reduce(distinct, initial=divisor))
        # 1 000 counts per cell scaled to 10 000 are multiples of ten, which are not counts.
        if n_all >= 20 and n_distinct >= 2 and n_near >= 0.99 * n_all and divisor == 1:
            return {"kind": "whole", "transformation": name}
    return None
