"""Time the leaderboard on 10 models x 5 seeds x 62 perturbations x 3 metrics, beside a bootstrap in a plain loop.

Run ``python benchmarks/leaderboard.py [RESAMPLES]``. The plain loop draws perturbations and averages their rows, one
resample at a time, for the stratum that holds all perturbations; it is timed on a tenth of the resamples.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd
from pertharness.cards import MetricOffer
from pertharness.host.leaderboard.compare import build_leaderboard
from pertharness.host.leaderboard.settings import Comparison, TaskSettings

MODELS, SEEDS, PERTURBATIONS = 10, 5, 62
METRICS = ("l2", "pearson", "pearson_delta")


def make_scores() -> pd.DataFrame:
    """Make scores of all models; each perturbation has a difficulty of its own that all models share."""
    rng = np.random.default_rng(0)
    names = [f"P{i:02d}" for i in range(PERTURBATIONS)]
    levels = [METRICS, [f"model{i}" for i in range(MODELS)], range(1, SEEDS + 1), names]
    scores = pd.MultiIndex.from_product(levels, names=["metric", "model", "seed", "perturbation"]).to_frame(index=False)
    difficulty = pd.Series(rng.gamma(4.0, size=PERTURBATIONS), index=names)
    scores["value"] = scores["perturbation"].map(difficulty) + rng.normal(size=len(scores))
    return scores.assign(
        dataset="demo", task="double", split="double", training_seed=0, plugin="some", params="", gene="",
        variant="default", coordinate="", state="done", part="test", selected_on_scored=False,
    )  # fmt: skip


def plain_bootstrap(scores: pd.DataFrame, resamples: int) -> float:
    """Bootstrap every model and metric in a loop; give the seconds."""
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    for _, part in scores.groupby(["metric", "model"]):
        rows = [group.to_numpy() for _, group in part.groupby("perturbation")["value"]]
        means = []
        for _ in range(resamples):
            drawn = rng.integers(len(rows), size=len(rows))
            means.append(np.concatenate([rows[i] for i in drawn]).mean())
        np.quantile(means, [0.025, 0.975])
    return time.perf_counter() - started


def measure(resamples: int) -> tuple[int, float, float]:
    """Give the leaderboard's rows, its seconds, and those of the plain loop."""
    scores = make_scores()
    metrics = {name: MetricOffer(id=name, direction="lower", best=0.0) for name in METRICS}
    names = scores["perturbation"].unique()
    strata = pd.DataFrame(
        {"dataset": "demo", "perturbation": names, "effect": np.arange(len(names), dtype=float), "on_target": "yes"}
    )
    settings = {("demo", "double"): TaskSettings(reference="model0", common_set=("model0", "model1"))}
    started = time.perf_counter()
    frame = build_leaderboard(scores, metrics, settings, Comparison(metric="l2", resamples=resamples), strata, {})
    seconds = time.perf_counter() - started
    return len(frame), seconds, plain_bootstrap(scores, max(1, resamples // 10)) * 10


def main() -> None:
    """Print the seconds of both and their ratio."""
    n_rows, seconds, plain = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    print(f"leaderboard of {n_rows} rows, intervals, ranks and verdicts included: {seconds:.2f} s")
    print(f"plain loop, intervals of one stratum alone: {plain:.1f} s, {plain / seconds:.0f} times as long")


if __name__ == "__main__":
    main()
