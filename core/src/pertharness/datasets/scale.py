"""What values of expression are: recognised by what each cell adds up to, not by how large the values are.

The expm1 of log1p of counts per 10 000 add up to 10 000 in every cell that has all its genes, and to less where genes
were left out later. Counts normalised to another total add up to that total, logs of raw counts come from whole
numbers, and after another transformation than the natural logarithm it is the inverse of that one whose sums are
constant. Where no sum is constant, the values of a cell still are whole multiples of its smallest one.
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
"""At least so many cells, drawn over the whole file, are tried with the inverses of other transformations."""
_KEPT_CELLS, _KEPT_VALUES = 500, 4_000_000
"""So many of these keep their values, to be looked at one by one; in all at most so many values."""
_SPREAD = 2e-4
"""Relative; below the spread that leaving out a hundredth of 1 000 000 counts of a cell brings (Poisson: 3e-4)."""


_ROUNDING = 1e-5
"""Relative; what float32 moves a sum by."""
_MOST_FOR_FEW = 2_000
"""Cells that are looked at where batches have totals that are close to each other."""
_APART = 0.05
"""Relative; what the few cells that are not at 10 000 have to be away from it before they are said to have a total."""


_OTHERS = tuple(name for name in TRANSFORMATIONS if name != NATURAL)


@dataclass
class Evidence:
    """What one pass over the values of cells collects for ``judge``.

    Attributes
    ----------
    sums
        Of expm1 over the genes, shape (n_obs,), float64, of every cell; infinite where the values are no logarithms.
    other_sums
        Transformation -> its sums, of the rows ``sampled``: none where all expm1 add up to 10 000.
    row_values
        Row -> its values that are not 0, float64.
    """

    sums: np.ndarray
    sampled: list[np.ndarray] = field(default_factory=list)
    other_sums: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in _OTHERS})
    row_values: dict[int, np.ndarray] = field(default_factory=dict)
    n_values: int = 0

    def add(self, chunk: Any, start: int) -> None:
        """Take up rows, the first of which has the number `start`; none of their values may be below 0."""
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
    """Return what a chunk stores of a row; scipy's own selection takes ten times as long."""
    values: np.ndarray = (
        chunk[row] if isinstance(chunk, np.ndarray) else chunk.data[chunk.indptr[row] : chunk.indptr[row + 1]]
    )
    return values


def _is_other(sums: np.ndarray) -> np.ndarray:
    """Return which rows have values above 0 whose expm1 do not add up to 10 000."""
    other: np.ndarray = (sums > 0) & ~(np.abs(sums / TOTAL - 1) <= TOLERANCE)
    return other


def sums_of(chunk: Any, inverse: Callable[[np.ndarray], np.ndarray], dtype: Any = np.float32) -> np.ndarray:
    """Return the sums over the genes of what a transformation was made of: shape (n_rows,), float64.

    `dtype`: of the single values. float32 gives a sum to about 1e-6 of it, ten times as fast as float64.
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
    """What the values of cells are.

    Attributes
    ----------
    kind
        ``cp10k``: every cell adds up to 10 000. ``subset``: to less, as where genes were left out. ``constant``: to
        another total, or to one of a few. ``whole``: made of raw counts. ``above``: to more than 10 000, and not the
        same in every cell. ``other``: made of counts, but not by another total that is known. ``again``: log1p of
        counts per 10 000 that was normalised and logged once more. ``depth``: to what grows with the counts of the
        cell: made of counts with fractions that were not normalised.
    total
        Of a ``constant`` one: the median.
    row
        The first row that is not at 10 000.
    factor
        Of a ``constant`` total of more genes than there are: what brings the values to 10 000.
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
    """Return what values are, by all that was collected.

    Parameters
    ----------
    totals
        Counts of each cell over all genes, as ``obs`` has them; shape (n_obs,). They tell the total of values that
        lack genes.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _judge(evidence, totals)


def _judge(evidence: Evidence, totals: np.ndarray | None) -> ScaleReading:
    """Try one explanation after the other."""
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
    if is_natural and others.max() > TOTAL * (1 + TOLERANCE):  # the total is not known, but can be done without
        first = int(np.argmax(sums > TOTAL * (1 + TOLERANCE)))
        explanation = {"kind": "above", "row": first, "high": float(others.max())}
    if explanation is None and follow_depth(sums, totals, cells):
        explanation = {"kind": "depth"}
    return ScaleReading(**{"kind": "subset", **facts, **(explanation or {})})


def _find_constant(evidence: Evidence, is_other: np.ndarray, cells: list[np.ndarray]) -> dict[str, Any] | None:
    """Find the transformation whose inverses add up to one total in each cell, or to one of a few."""
    sampled = np.concatenate(evidence.sampled)
    # Rows next to 10 000 belong to the others where these are most: without them, those would seem to end there.
    is_rare = is_other.sum() < (evidence.sums > 0).sum() / 2
    is_meant = is_other if is_rare else evidence.sums > 0
    few = False
    spreads: dict[str, tuple[float, float]] = {}
    for name in TRANSFORMATIONS:
        most = 4 * _noise(cells, TRANSFORMATIONS[name].inverse)
        if name == NATURAL:
            sums, noise, least = evidence.sums[is_meant], most, _least_spread(cells)
            most = max(_SPREAD, min(noise, least))
            # Where rounding hides how sums vary, kinds of cells look like batches.
            is_clear = noise < least / 3
            few = _is_of_few(sums, most) or (is_clear and _is_of_few(_thinned(sums), max(_ROUNDING, noise), 5))
        else:
            sums, most = np.concatenate(evidence.other_sums[name])[is_meant[sampled]], max(_SPREAD, most)
        total = float(np.median(sums)) if len(sums) else 0.0
        is_apart = not is_rare or (len(sums) >= 10 and (name != NATURAL or abs(total / TOTAL - 1) > _APART))
        if is_apart and (spread := _spread_of(sums)) < most:
            spreads[name] = spread, total
    if len(spreads) == len(TRANSFORMATIONS):  # rows that are all alike tell nothing
        return None
    if spreads:  # of values far below 1, several transformations are next to nothing
        name = min(spreads, key=lambda name: spreads[name])
        return {"kind": "constant", "transformation": name, "total": spreads[name][1]}
    few = few and not are_per_10_000(cells)  # of cells that have as many counts each, sums are few, too
    return {"kind": "constant", "total": float(np.median(evidence.sums[is_other]))} if few else None


def _least_spread(cells: list[np.ndarray]) -> float:
    """Return a spread that sums of log1p of counts per 10 000 exceed, relative, where genes were left out.

    How many of the counts of a cell fall to these genes varies at least as a binomial number does; the smallest value
    of a cell tells how many counts it has. A third of that, so that a few cells suffice to tell.
    """
    if len(cells) < 10:
        return np.inf
    shares = np.array([np.expm1(values).sum() for values in cells]) / TOTAL
    n_counts = TOTAL / np.expm1([values.min() for values in cells])
    share = float(np.clip(np.median(shares), 1e-6, 1))
    return float(np.sqrt((1 - share) / (share * np.median(n_counts))) / 3)


def _noise(cells: list[np.ndarray], inverse: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return by how much rounding of the values moves a cell's sum, relative: one standard deviation."""
    if not cells:
        return 0.0
    errors = rounding_errors(cells)
    moved = [inverse(x + e) - inverse(x) for x, e in zip(cells, errors, strict=True)]
    noise = [np.sqrt((m**2).sum() / 3) / inverse(x).sum() for x, m in zip(cells, moved, strict=True)]
    middle = float(np.median(noise))
    return middle if np.isfinite(middle) else 0.0


def have_one_total(evidence: Evidence) -> bool:
    """Return whether almost all rows add up to the same in expm1, though they are not alike."""
    squares = evidence.other_sums["sqrt"]
    are_alike = bool(squares) and _spread_of(np.concatenate(squares)) < _SPREAD
    return _spread_of(evidence.sums) < _SPREAD and not are_alike


def _spread_of(sums: np.ndarray) -> float:
    """Return half the range of the middle two thirds of some sums, relative; of fewer than ten sums, of all."""
    if len(sums) < 3 or not np.isfinite(sums).all():
        return np.inf
    low, middle, high = np.quantile(sums, (0.16, 0.5, 0.84) if len(sums) >= 10 else (0, 0.5, 1))
    return float((high - low) / 2 / middle) if middle > 0 else np.inf


def _thinned(sums: np.ndarray) -> np.ndarray:
    """Return some of the sums, few enough that those of cells that have nothing in common do not meet."""
    return sums[:: -(-len(sums) // _MOST_FOR_FEW)]


def _is_of_few(sums: np.ndarray, spread: float, apart: float = 20) -> bool:
    """Return whether almost all sums are one of a few, as where each batch was normalised to its own median.

    `spread` is that of the sums of a batch, relative; the batches are at least `apart` times that away.
    """
    if len(sums) < 50 or not np.isfinite(sums).all() or not (sums > 0).all():
        return False
    logs = np.sort(np.log(sums))

    def n_within(width: float) -> np.ndarray:
        return np.searchsorted(logs, logs + width, "right") - np.searchsorted(logs, logs - width, "left")

    near, around = n_within(2 * spread), n_within(2 * apart * spread)
    return bool(np.mean((near >= 5) & (near >= 0.8 * around)) >= 0.9)


def _find_whole(cells: list[np.ndarray]) -> dict[str, Any] | None:
    """Find the transformation that whole numbers went through: nothing was normalised."""
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
        # Of 1 000 counts in each cell, 10 000 make tens: these are no counts.
        if n_all >= 20 and n_distinct >= 2 and n_near >= 0.99 * n_all and divisor == 1:
            return {"kind": "whole", "transformation": name}
    return None
