"""Time locfdr on as many values as five stacked splits of a large screen have, beside statsmodels' empirical null.

    python benchmarks/locfdr.py [--repeats N] [--values N]

620 000 values: 124 doubles x 1 000 genes x 5 splits. One thread, imports excluded, processor time, best of several.
``statsmodels.stats.multitest`` estimates the null by maximum likelihood too (``NullDistribution``) and the density by
Poisson regression on polynomials (``local_fdr``); it gives neither standard errors nor R's table.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Callable

import numpy as np
from pertharness_scorers.locfdr import locfdr, nearest_thresholds
from statsmodels.stats.multitest import NullDistribution, local_fdr

VALUES = 620_000


def make_values(n: int) -> np.ndarray:
    """Return deviations from additivity as of a screen: a normal null, 1 in 10 from a wider one.

    Its tails are lighter than real ones, on which statsmodels' regression on polynomials diverges.
    """
    rng = np.random.default_rng(0)
    return np.asarray(rng.normal(0.005, np.where(rng.random(n) < 0.1, 0.12, 0.06), n))


def by_locfdr(values: np.ndarray) -> np.ndarray:
    """Return the local fdr of each value, with thresholds."""
    found = locfdr(values)
    nearest_thresholds(values, found.fdr)
    return found.fdr


def by_statsmodels(values: np.ndarray) -> np.ndarray:
    """Return the local fdr of each value with the null that statsmodels estimates."""
    scaled = (values - values.mean()) / values.std()
    null = NullDistribution(scaled, estimate_null_proportion=True)
    return np.asarray(local_fdr(scaled, null.null_proportion, null.pdf))


def best_time_s(way: Callable[[np.ndarray], np.ndarray], values: np.ndarray, repeats: int) -> float:
    """Return the smallest processor time of several calls, after one that loads what is imported late."""
    way(values[:2000])
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        way(values)
        spent.append(time.process_time() - started)
    return min(spent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--values", type=int, default=VALUES)
    asked = parser.parse_args()
    drawn = make_values(asked.values)
    ours, other = (best_time_s(way, drawn, asked.repeats) for way in (by_locfdr, by_statsmodels))
    print(f"{asked.values} values, one thread, processor time")
    print(f"pertharness_scorers.locfdr {ours:.3f} s; statsmodels' NullDistribution and local_fdr {other:.3f} s")
    print(f"ratio {ours / other:.2f}; target 0.5 s")
