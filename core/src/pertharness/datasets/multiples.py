"""Find the total of cells whose genes are incomplete: their values are whole multiples of the value of one count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pertharness.datasets.rounding import rounding_errors
from pertharness.datasets.transformations import NATURAL, TOTAL, TRANSFORMATIONS

TOLERANCE = 0.01
"""Relative tolerance of a total of expm1; float16 alone changes it by up to 0.5 % in a cell with one dominant gene."""
_USUAL_TOTALS = (TOTAL, 1e5, 1e6)
"""Totals that counts are often scaled to, smallest first."""
_MOST_COUNTS = 3e6
"""Most counts of a cell; if a cell seems to have more, it was scaled to another total than 10 000."""
_MULTIPLES = (1, 2, 3)
_WHOLE_OF_MIXED = 0.8
"""If in less than this share of cells the number of counts, or a small multiple, is whole, some are not at 10 000."""
_FEWEST_CLEAR = 200
_FEWEST_DISTINCT = 5
_SPREAD_OF_DEPTH = 0.2
"""Smallest standard deviation of the logarithm of totals that counts have if they were not normalised."""


def find_by_multiples(cells: list[np.ndarray], totals: np.ndarray | None) -> dict[str, Any] | None:
    """Find the transformation by whose inverse values become whole multiples of the smallest one of their cell."""
    shares = {name: share_of_multiples(cells, TRANSFORMATIONS[name].inverse) for name in TRANSFORMATIONS}
    name = NATURAL if shares[NATURAL] >= 0.5 else max(shares, key=lambda name: shares[name])
    if shares[name] < 0.95:
        return None
    inverse = TRANSFORMATIONS[name].inverse
    smallest = np.array([values.min() for values in cells])
    single = inverse(smallest)
    errors = rounding_errors(cells)
    blur = np.array([error[np.argmin(values)] for values, error in zip(cells, errors, strict=True)])
    relative = 1.5 * (inverse(smallest + blur) - single) / single
    total = _total_of(single, relative, totals)
    if total is None:
        n_counts = TOTAL / single
        is_mixed = _share_of_whole(n_counts, relative, _MULTIPLES) < _WHOLE_OF_MIXED
        is_absurd = float(np.median(n_counts)) > _MOST_COUNTS
        return {"kind": "other", "transformation": name} if name != NATURAL or is_mixed or is_absurd else None
    if name == NATURAL and abs(total / TOTAL - 1) <= TOLERANCE:
        return None
    return {"kind": "constant", "transformation": name, "total": total, "factor": TOTAL / total}


def find_by_totals(cells: list[np.ndarray], totals: np.ndarray, median: float) -> dict[str, Any] | None:
    """Find the total for which log1p values become whole counts, given the counts of each cell over all genes.

    Unlike `find_by_multiples`, this needs no gene with a single count, which deep cells may lack.

    Parameters
    ----------
    cells
        Non-zero values of some cells.
    totals
        Total counts of these cells in ``obs``.
    median
        Median of the totals of all cells, the default target of normalisation in scanpy.
    """
    errors = rounding_errors(cells)
    for total in (TOTAL, median, *_USUAL_TOTALS):  # the first that explains the values
        n_all = 0
        whole = []
        for values, error, of_cell in zip(cells, errors, totals, strict=True):
            numbers = np.expm1(values) * (of_cell / total)
            blur = 1.5 * (np.expm1(values + error) * (of_cell / total) - numbers)
            clear = blur < 0.05
            n_all += int(clear.sum())
            nearest = np.rint(numbers)
            whole.append(nearest[clear & (nearest > 0) & (np.abs(numbers - nearest) <= blur)])
        counts = np.concatenate(whole) if whole else np.empty(0)
        if n_all >= _FEWEST_CLEAR and len(counts) >= 0.95 * n_all and _divisor_of(counts) == 1:
            is_plain = abs(total / TOTAL - 1) <= TOLERANCE
            return None if is_plain else {"kind": "constant", "total": total, "factor": TOTAL / total}
    return None


def are_per_10_000(cells: list[np.ndarray]) -> bool:
    """Return whether values are log1p of counts per 10 000, because each cell then has a whole number of counts."""
    if share_of_multiples(cells, np.expm1) < 0.95:
        return False
    single = np.expm1([values.min() for values in cells])
    errors = [error[np.argmin(values)] for values, error in zip(cells, rounding_errors(cells), strict=True)]
    relative = 1.5 * np.array(errors) * (1 + single) / single
    return _total_of(single, relative, None) == TOTAL


def _total_of(single: np.ndarray, relative: np.ndarray, totals: np.ndarray | None) -> float | None:
    """Return the total that cells were scaled to; None if it is unclear.

    Parameters
    ----------
    single
        Scaled value of a single count in each cell.
    relative
        Relative error of these values.
    totals
        Total counts of these cells over all genes, from ``obs``.
    """
    if totals is not None and len(single) >= 10:
        of_all = single * totals
        middle = float(np.median(of_all))
        if np.mean(np.abs(of_all / middle - 1) <= 2 * relative + 1e-4) >= 0.9:
            return middle
    # The right total gives a whole number of counts for each cell.
    for total in _USUAL_TOTALS:
        if _share_of_whole(total / single, relative) >= 0.9:
            n_counts = total / single
            return total / _divisor_of(np.rint(n_counts[n_counts * relative < 0.1]))
    return None


def _divisor_of(numbers: np.ndarray) -> int:
    """Return the divisor of nearly all numbers, which are this many times the counts.

    If counts were scaled to 5 000, for example, a cell seems to have twice its counts at 10 000. If nearly all numbers
    are equal, they say nothing about the divisor, and 1 is returned.
    """
    divisor = 1
    if len(np.unique(numbers)) < _FEWEST_DISTINCT:
        return divisor
    for prime in (2, 5):  # other primes divide none of the usual totals
        while np.mean(numbers % (divisor * prime) == 0) >= 0.9:
            divisor *= prime
    return divisor


def _share_of_whole(n_counts: np.ndarray, relative: np.ndarray, multiples: tuple[int, ...] = (1,)) -> float:
    """Return the share of numbers with a whole multiple; NaN if too few are exact enough."""
    clear = n_counts * relative < 0.1
    if clear.sum() < 20:
        return float("nan")
    is_whole = np.zeros(int(clear.sum()), dtype=bool)
    for multiple in multiples:
        numbers, blur = multiple * n_counts[clear], multiple * (n_counts * relative)[clear]
        is_whole |= np.abs(numbers - np.rint(numbers)) <= blur
    return float(is_whole.mean())


def follow_depth(sums: np.ndarray, totals: np.ndarray | None, cells: list[np.ndarray]) -> bool:
    """Return whether totals of cells grow with their counts, so that nothing was normalised.

    For counts with fractions, such as those after subtraction of ambient RNA, there is no other evidence.
    """
    n_clear, share = _multiples_of(cells, np.expm1)
    if n_clear >= _FEWEST_CLEAR and share >= 0.5:  # whole numbers, for which other evidence is better
        return False
    if totals is not None and (totals > 0).all():
        depth, own_sums = totals, sums
    elif n_clear >= _FEWEST_CLEAR:  # the number of detected genes grows with the counts
        depth = np.array([len(values) for values in cells], dtype=np.float64)
        own_sums = np.array([np.expm1(values).sum() for values in cells])
    else:
        return False
    logs, of_depth = np.log(own_sums[own_sums > 0]), np.log(depth[own_sums > 0])
    if len(logs) < 50 or logs.std() < _SPREAD_OF_DEPTH or of_depth.std() == 0:
        return False
    return bool(np.corrcoef(logs, of_depth)[0, 1] > 0.95)


def was_logged_before(cells: list[np.ndarray]) -> bool:
    """Return whether values are log1p of counts per 10 000 that were normalised and logged once more.

    Such values add up to 10 000, too, but only the values before the second time are whole multiples.
    """
    few = cells[:50]  # mostly enough to decide
    if share_of_multiples(few, np.expm1) >= 0.5 or share_of_multiples(cells, np.expm1) >= 0.5:
        return False
    before = []
    for values in few:
        scaled = np.expm1(values)
        low, high = 0.0, float(np.log1p(TOTAL) / scaled.max())
        for _ in range(60):  # bisection
            middle = (low + high) / 2
            low, high = (low, middle) if np.expm1(scaled * middle).sum() > TOTAL else (middle, high)
        before.append(scaled * low)
    return bool(before) and share_of_multiples(before, np.expm1) >= 0.95


def share_of_multiples(cells: list[np.ndarray], inverse: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the share of values that are whole multiples of their cell's smallest one; 0 if too few are exact."""
    n_clear, share = _multiples_of(cells, inverse)
    return share if n_clear >= _FEWEST_CLEAR else 0.0


def _multiples_of(cells: list[np.ndarray], inverse: Callable[[np.ndarray], np.ndarray]) -> tuple[int, float]:
    """Return the number of values that are exact enough, and the share of these that are whole multiples."""
    n_near = n_all = 0
    for values, error in zip(cells, rounding_errors(cells), strict=True):
        numbers = inverse(values)
        relative = 1.5 * (inverse(values + error) - numbers) / numbers
        first = int(np.argmin(numbers))
        ratios = numbers / numbers[first]
        blur = ratios * (relative + relative[first])
        clear = (ratios > 1.2) & (blur < 0.1)
        n_all += int(clear.sum())
        n_near += n_whole(ratios[clear], blur[clear])
    return n_all, n_near / max(n_all, 1)


def n_whole(numbers: np.ndarray, blur: np.ndarray) -> int:
    """Return how many numbers are whole within their errors `blur`."""
    return int((np.abs(numbers - np.rint(numbers)) <= blur).sum())
