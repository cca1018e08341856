"""Values of a cell that are whole multiples of a single count, by which a total is told where genes were left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pertharness.datasets.rounding import rounding_errors
from pertharness.datasets.transformations import NATURAL, TOTAL, TRANSFORMATIONS

TOLERANCE = 0.01
"""Of a sum of expm1, relative: float16 alone moves that of a cell that one gene dominates by up to half a per cent."""
_USUAL_TOTALS = (TOTAL, 1e5, 1e6)
"""What counts are scaled to, smallest first: the number of counts of a cell tells it where genes were left out."""
_MOST_COUNTS = 3e6
"""Of a cell; a single count that would be less of 10 000 was scaled to another total."""
_MULTIPLES = (1, 2, 3)
_WHOLE_OF_MIXED = 0.8
"""Share of cells whose number of counts, or a multiple of it, is whole, below which some are not at 10 000."""
_FEWEST_CLEAR = 200
_FEWEST_DISTINCT = 5
_SPREAD_OF_DEPTH = 0.2
"""Standard deviation of the logarithm of what cells add up to; less is no spread of counts that are not normalised."""


def find_by_multiples(cells: list[np.ndarray], totals: np.ndarray | None) -> dict[str, Any] | None:
    """Find the transformation after which a cell's values are whole multiples of its smallest one, a single count."""
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
    """Find the total that makes whole numbers of log1p of counts, with the counts of each cell over all genes.

    This needs no value of a single count, which deep cells may lack in the genes that are left.

    Parameters
    ----------
    totals
        Of the cells that were kept, as ``obs`` has them.
    median
        Of all cells: what they were normalised to, where nothing else was named.
    """
    errors = rounding_errors(cells)
    for total in (TOTAL, median, *_USUAL_TOTALS):  # of the first that explains the values
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
    """Return whether values are log1p of counts per 10 000, by the number of counts of each cell."""
    if share_of_multiples(cells, np.expm1) < 0.95:
        return False
    single = np.expm1([values.min() for values in cells])
    errors = [error[np.argmin(values)] for values, error in zip(cells, rounding_errors(cells), strict=True)]
    relative = 1.5 * np.array(errors) * (1 + single) / single
    return _total_of(single, relative, None) == TOTAL


def _total_of(single: np.ndarray, relative: np.ndarray, totals: np.ndarray | None) -> float | None:
    """Return what the counts of each cell were scaled to, None where that cannot be told.

    Parameters
    ----------
    single
        What a count was scaled to, of each cell that was kept.
    relative
        Its relative error.
    totals
        Counts of these cells over all genes, as ``obs`` has them.
    """
    if totals is not None and len(single) >= 10:
        of_all = single * totals
        middle = float(np.median(of_all))
        if np.mean(np.abs(of_all / middle - 1) <= 2 * relative + 1e-4) >= 0.9:
            return middle
    # The number of counts of a cell is whole, if that is what they were scaled to.
    for total in _USUAL_TOTALS:
        if _share_of_whole(total / single, relative) >= 0.9:
            n_counts = total / single
            return total / _divisor_of(np.rint(n_counts[n_counts * relative < 0.1]))
    return None


def _divisor_of(numbers: np.ndarray) -> int:
    """Return what nearly all of some whole numbers can be divided by: they are that many times the counts.

    Where counts were scaled to 5 000, a cell seems to have twice its counts of 10 000. Of numbers that are nearly all
    alike, 1: they tell nothing.
    """
    divisor = 1
    if len(np.unique(numbers)) < _FEWEST_DISTINCT:
        return divisor
    for prime in (2, 5):  # the others divide none of the usual totals
        while np.mean(numbers % (divisor * prime) == 0) >= 0.9:
            divisor *= prime
    return divisor


def _share_of_whole(n_counts: np.ndarray, relative: np.ndarray, multiples: tuple[int, ...] = (1,)) -> float:
    """Return the share of numbers of which a multiple is whole; NaN where too few are exact enough to tell."""
    clear = n_counts * relative < 0.1
    if clear.sum() < 20:
        return float("nan")
    is_whole = np.zeros(int(clear.sum()), dtype=bool)
    for multiple in multiples:
        numbers, blur = multiple * n_counts[clear], multiple * (n_counts * relative)[clear]
        is_whole |= np.abs(numbers - np.rint(numbers)) <= blur
    return float(is_whole.mean())


def follow_depth(sums: np.ndarray, totals: np.ndarray | None, cells: list[np.ndarray]) -> bool:
    """Return whether what cells add up to grows with their counts, as where nothing was normalised.

    Counts with fractions, such as those of which ambient RNA was subtracted, show it by nothing else.
    """
    n_clear, share = _multiples_of(cells, np.expm1)
    if n_clear >= _FEWEST_CLEAR and share >= 0.5:  # whole numbers, of which more can be told
        return False
    if totals is not None and (totals > 0).all():
        depth, own_sums = totals, sums
    elif n_clear >= _FEWEST_CLEAR:  # the genes that are seen in a cell grow with its counts
        depth = np.array([len(values) for values in cells], dtype=np.float64)
        own_sums = np.array([np.expm1(values).sum() for values in cells])
    else:
        return False
    logs, of_depth = np.log(own_sums[own_sums > 0]), np.log(depth[own_sums > 0])
    if len(logs) < 50 or logs.std() < _SPREAD_OF_DEPTH or of_depth.std() == 0:
        return False
    return bool(np.corrcoef(logs, of_depth)[0, 1] > 0.95)


def was_logged_before(cells: list[np.ndarray]) -> bool:
    """Return whether values are logs of what was log1p of counts per 10 000 before it was normalised once more.

    They add up to 10 000, too. But only what they were made of consists of whole multiples.
    """
    few = cells[:50]  # which mostly settle it
    if share_of_multiples(few, np.expm1) >= 0.5 or share_of_multiples(cells, np.expm1) >= 0.5:
        return False
    before = []
    for values in few:
        scaled = np.expm1(values)
        low, high = 0.0, float(np.log1p(TOTAL) / scaled.max())
        for _ in range(60):  # halves the interval
            middle = (low + high) / 2
            low, high = (low, middle) if np.expm1(scaled * middle).sum() > TOTAL else (middle, high)
        before.append(scaled * low)
    return bool(before) and share_of_multiples(before, np.expm1) >= 0.95


def share_of_multiples(cells: list[np.ndarray], inverse: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the share of values that are whole multiples of their cell's smallest one; 0 where too few can tell."""
    n_clear, share = _multiples_of(cells, inverse)
    return share if n_clear >= _FEWEST_CLEAR else 0.0


def _multiples_of(cells: list[np.ndarray], inverse: Callable[[np.ndarray], np.ndarray]) -> tuple[int, float]:
    """Return how many values are exact enough to tell, and the share of these that are whole multiples."""
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
    """Return how many numbers are whole, each but for its blur."""
    return int((np.abs(numbers - np.rint(numbers)) <= blur).sum())
