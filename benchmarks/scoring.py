"""Time the scorers against loops over perturbations, with scipy or with numpy, in the same run.

    python benchmarks/scoring.py [--repeats N] [--only doubles|all|singles]

doubles: 10 models x 5 splits x 62 perturbations x 1000 genes, the size of the published comparison of doubles; three
metrics. all: the same with every scorer that doubles have, curves, classes and tables of interactions included.
singles: 14 420 predictions of 5000 genes, the size of the published analysis of singles, with six scorers; the authors'
R takes 620 s for it. One thread, processor time: the same beside other work on the machine.
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, islice
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL, Scores, Task, make_prediction
from pertharness_scorers import score
from scipy.stats import pearsonr

MODELS, SPLITS, PERTURBATIONS, GENES = 10, 5, 62, 1000
SINGLES, DOUBLES = 100, 124
METRICS = ("l2", "pearson", "pearson_delta")
SINGLE_MODELS, SINGLE_SPLITS, SINGLE_PERTURBATIONS, ALL_GENES = 10, 2, 721, 5000
SINGLE_SCORERS = (*METRICS, "l2_by_rank", "gene_sd", "relative_error")
DOUBLE_SCORERS = (*SINGLE_SCORERS, "target_change", "interactions")
IN_LOOP = 72
"""Predictions that the loop scores; its time is scaled to all of them."""
SINGLES_LOOP, DOUBLES_LOOP = "loop of numpy and scipy, 1 variant", "numpy.argsort of the deviations alone, 3 rankings"
Jobs = list[tuple[AnnData, AnnData]]


def call(name: str, truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData) -> Scores:
    """Call the hook, as a score job does."""
    task = Task(dataset="made", name="made", split_kind="double", split_seed=1)
    given = score(
        name=name, truth=truth, prediction=prediction, controls=controls, train=train, screen=screen, references={},
        task=task, params={}, seed=0,
    )  # fmt: skip
    return given if isinstance(given, Scores) else Scores(given)


def _means(rows: np.ndarray, labels: list[str]) -> AnnData:
    genes = [f"g{i:04d}" for i in range(rows.shape[1])]
    return make_prediction(dict(zip(labels, rows, strict=True)), genes)


def make_jobs(rng: np.random.Generator) -> tuple[AnnData, Jobs]:
    """Return the controls and one pair of truth and prediction per model and split."""
    labels = [f"g{i:04d}+g{i + 100:04d}" for i in range(PERTURBATIONS)]
    y0 = rng.gamma(1.0, 1.0, GENES)
    jobs = []
    for _ in range(SPLITS):
        y = y0 + rng.normal(0, 0.2, (PERTURBATIONS, GENES))
        truth = _means(y, labels)
        jobs += [(truth, _means(y + rng.normal(0, 0.2, y.shape), labels)) for _ in range(MODELS)]
    return _means(y0[None], [CONTROL]), jobs


def by_scorers(controls: AnnData, jobs: Jobs) -> np.ndarray:
    """Score through the hook, all variants, tables included; give the default values."""
    tables = [
        call(metric, truth, prediction, controls, controls, controls).table
        for truth, prediction in jobs
        for metric in METRICS
    ]
    table = pd.concat(tables)
    return table.loc[table["variant"] == "default", "value"].to_numpy()


def by_loop(correlate: Callable[[np.ndarray, np.ndarray], float], controls: AnnData, jobs: Jobs) -> np.ndarray:
    """Score one perturbation at a time with numpy's norm and `correlate`, default variant only, no tables."""
    y0, values = controls.X[0], []
    for truth, prediction in jobs:
        pairs = list(zip(prediction.X, truth.X, strict=True))
        values += [float(np.linalg.norm(yhat - y)) for yhat, y in pairs]
        values += [correlate(yhat, y) for yhat, y in pairs]
        values += [correlate(yhat - y0, y - y0) for yhat, y in pairs]
    return np.array(values)


WAYS: dict[str, Callable[[AnnData, Jobs], np.ndarray]] = {
    "pertharness_scorers.score (3 variants, with tables)": by_scorers,
    "loop of scipy.stats.pearsonr (1 variant, no tables)": partial(by_loop, lambda a, b: pearsonr(a, b)[0]),
    "loop of numpy.corrcoef (1 variant, no tables)": partial(by_loop, lambda a, b: np.corrcoef(a, b)[0, 1]),
}


def best_time_s(function: Callable[[AnnData, Jobs], np.ndarray], controls: AnnData, jobs: Jobs, repeats: int) -> float:
    """Return the shortest processor time of several runs, after one that is not counted."""
    function(controls, jobs)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(controls, jobs)
        times.append(time.process_time() - start)
    return min(times)


def doubles(repeats: int) -> Iterator[str]:
    """Time the three metrics of a perturbation."""
    controls, jobs = make_jobs(np.random.default_rng(0))
    values = [way(controls, jobs) for way in WAYS.values()]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=0, atol=1e-9)
    times = {name: best_time_s(way, controls, jobs, repeats) for name, way in WAYS.items()}
    yield f"{MODELS} models x {SPLITS} splits x {PERTURBATIONS} perturbations x {GENES} genes, {', '.join(METRICS)}"
    for name, time_s in times.items():
        yield f"{name:52} {time_s:7.3f} s   ratio to the scorers {time_s / times[next(iter(times))]:5.2f}"


def make_singles(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield the arguments of one score job after the other; a tenth of the genes is silent, so that changes tie."""
    y0 = rng.gamma(0.3, 1.0, ALL_GENES) * (rng.random(ALL_GENES) < 0.9)
    shape = (SINGLE_PERTURBATIONS, ALL_GENES)
    for _ in range(SINGLE_SPLITS):
        y = np.maximum(y0 + rng.normal(0, 0.2, shape) * (y0 > 0), 0)
        trained = np.maximum(y0 + rng.normal(0, 0.2, shape) * (y0 > 0), 0)
        truth = _means(y, [f"g{i:04d}" for i in range(len(y))])
        train = _means(np.vstack([y0, trained]), [CONTROL, *(f"g{i + len(y):04d}" for i in range(len(y)))])
        controls = _means(y0[None], [CONTROL])
        for _ in range(SINGLE_MODELS):
            prediction = _means(y + rng.normal(0, 0.2, shape), list(truth.obs["perturbation"]))
            yield {"truth": truth, "prediction": prediction, "controls": controls, "train": train, "screen": train}


def loop_over_singles(job: dict[str, Any], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what the six scorers do for the first `n` predictions, one after the other, in one variant."""
    y0, mean = job["controls"].X[0], job["train"].X[1:].mean(axis=0)
    panel = np.sort(np.argsort(-y0, kind="stable")[:1000])
    by_expression, values, curves = np.argsort(-y0, kind="stable"), [], []
    for yhat, y in islice(zip(job["prediction"].X, job["truth"].X, strict=True), n):
        a, b, c = yhat[panel], y[panel], y0[panel]
        error = np.linalg.norm(a - b)
        ratio = error / np.linalg.norm(mean[panel] - b)
        values.append((error, pearsonr(a, b)[0], pearsonr(a - c, b - c)[0], ratio))
        squares = (yhat - y) ** 2
        by_change = np.argsort(-np.abs(y - y0), kind="stable")
        curves.append([np.sqrt(np.cumsum(squares[order])) for order in (by_expression, by_change)])
    job["prediction"].X[:n, panel].std(axis=0, ddof=1)
    return np.array(values), np.array(curves)


def time_singles(repeats: int) -> tuple[dict[str, float], float]:
    """Time the analysis of the singles, per scorer, and the loop, scaled to all; predictions are made outside it."""
    seconds = dict.fromkeys(SINGLE_SCORERS, 0.0)
    first = next(make_singles(np.random.default_rng(0)))
    for job in make_singles(np.random.default_rng(0)):
        time_scorers(job, seconds)
    some = {**first, "prediction": first["prediction"][:IN_LOOP].copy()}
    looped = []
    for _ in range(repeats):
        started = time.process_time()
        values, curves = loop_over_singles(some, IN_LOOP)
        looped.append(time.process_time() - started)
    check_singles(some, values, curves)
    return seconds, min(looped) / IN_LOOP * SINGLE_MODELS * SINGLE_SPLITS * SINGLE_PERTURBATIONS


def time_scorers(job: dict[str, Any], seconds: dict[str, float]) -> None:
    """Add to the time of each scorer what one job takes."""
    for name in seconds:
        started = time.process_time()
        call(name, **job)
        seconds[name] += time.process_time() - started


def singles(repeats: int) -> Iterator[str]:
    """Time the analysis of the singles."""
    seconds, loop_s = time_singles(repeats)
    yield f"{SINGLE_MODELS * SINGLE_SPLITS * SINGLE_PERTURBATIONS} predictions of {ALL_GENES} genes, all variants"
    yield from _told(seconds, loop_s, f"{SINGLES_LOOP}, scaled from {IN_LOOP}")


def _told(seconds: dict[str, float], other_s: float, what: str) -> Iterator[str]:
    total = sum(seconds.values())
    yield f"{len(seconds)} scorers {total:7.2f} s   (" + ", ".join(f"{k} {v:.2f}" for k, v in seconds.items()) + ")"
    yield f"{what} {other_s:7.2f} s   ratio to the scorers {other_s / total:5.2f}"


def check_singles(job: dict[str, Any], values: np.ndarray, curves: np.ndarray) -> None:
    """Compare the numbers of the scorers with those of the loop."""
    for name, column in zip(METRICS, values.T, strict=False):
        table = call(name, **job).table
        ours = table.loc[table["variant"] == "default", "value"].to_numpy()
        np.testing.assert_allclose(ours, column, rtol=0, atol=1e-9)
    table = call("l2_by_rank", **job).table
    for order, curve in zip(("expression", "differential-expression"), curves.mean(axis=0), strict=True):
        mine = table[table["variant"] == order]
        expected = curve[mine["coordinate"].to_numpy(dtype=int) - 1]
        np.testing.assert_allclose(mine["value"], expected, rtol=0, atol=1e-9)
    relative = call("relative_error", **job).table.query("metric == 'relative_error' and variant == 'default'")["value"]
    np.testing.assert_allclose(relative, values[:, 3] - 1, rtol=0, atol=1e-9)


def make_interactions(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield the arguments of one score job after the other: half of the doubles of one screen is held out."""
    names = [f"g{i:04d}" for i in range(SINGLES)]
    pairs = [pair for pair in combinations(range(SINGLES), 2) if (pair[0] + pair[1]) % 3 == 0]
    pairs = [pairs[i] for i in rng.choice(len(pairs), DOUBLES, replace=False)]
    y0 = rng.gamma(1.0, 1.0, GENES)
    single = y0 + rng.normal(0, 0.2, (SINGLES, GENES)) * (rng.random((SINGLES, GENES)) < 0.2)
    first, second = np.array(pairs).T
    # Few deviations are large, as in real screens.
    expected = single[first] + single[second] - y0
    large = rng.laplace(0, 0.12, expected.shape) * (rng.random(expected.shape) < 0.15)
    deviation = rng.normal(0, 0.05, expected.shape) + large
    labels = [f"{names[a]}+{names[b]}" for a, b in pairs]
    screen = _means(np.vstack([y0, single, expected + deviation]), [CONTROL, *names, *labels])
    controls = screen[:1].copy()
    for _ in range(SPLITS):
        held = np.sort(rng.choice(DOUBLES, PERTURBATIONS, replace=False))
        truth = screen[1 + SINGLES + held].copy()
        train = screen[np.setdiff1d(np.arange(screen.n_obs), 1 + SINGLES + held)].copy()
        for _ in range(MODELS):
            yhat = expected[held] + 0.5 * deviation[held] + rng.normal(0, 0.1, (PERTURBATIONS, GENES))
            prediction = _means(yhat, [labels[i] for i in held])
            yield {"truth": truth, "prediction": prediction, "controls": controls, "train": train, "screen": screen}


def time_all(repeats: int) -> tuple[dict[str, float], float]:
    """Time all that is scored of doubles, per scorer, and an alternative that only sorts each ranking."""
    jobs = list(make_interactions(np.random.default_rng(0)))
    tried, plain = [], []
    for _ in range(repeats):
        seconds = dict.fromkeys(DOUBLE_SCORERS, 0.0)
        for job in jobs:
            time_scorers(job, seconds)
        tried.append(seconds)
        started = time.process_time()
        for job in jobs:
            sort_deviations(job)
        plain.append(time.process_time() - started)
    return min(tried, key=lambda seconds: sum(seconds.values())), min(plain)


def everything(repeats: int) -> Iterator[str]:
    """Time all that is scored of doubles."""
    seconds, plain_s = time_all(repeats)
    yield f"{MODELS} models x {SPLITS} splits x {PERTURBATIONS} doubles x {GENES} genes, all scores, curves and classes"
    yield from _told(seconds, plain_s, DOUBLES_LOOP)


def sort_deviations(job: dict[str, Any]) -> None:
    """Do what no way of ranking deviations can do without."""
    row_of = {label: row for row, label in enumerate(job["screen"].obs["perturbation"])}
    x = job["screen"].X
    pairs = [label.split("+") for label in job["prediction"].obs["perturbation"]]
    expected = x[[row_of[a] for a, _ in pairs]] + x[[row_of[b] for _, b in pairs]] - x[0]
    deviation = (job["prediction"].X - expected).ravel()
    for scores in (np.abs(deviation), np.abs(deviation), deviation):
        np.cumsum(np.argsort(-scores, kind="stable"))


CASES: dict[str, Callable[[int], Iterator[str]]] = {
    "doubles": doubles, "all": everything, "singles": singles,
}  # fmt: skip


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=CASES, action="append", help="a case; may be given more than once")
    options = parser.parse_args()
    print(f"1 thread; data in memory, warm caches: best of {options.repeats}; values equal to 1e-9; singles once")
    for name in options.only or CASES:
        for line in CASES[name](options.repeats):
            print(line, flush=True)


if __name__ == "__main__":
    main()
