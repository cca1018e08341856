"""Time the leaderboard: a small one beside a bootstrap in a plain loop, and all files of a large run beside pandas.

Run ``python benchmarks/leaderboard.py [--resamples N] [--rows N]``. The small one has 10 models x 5 seeds x 62
perturbations x 3 metrics. The plain loop draws perturbations and averages their rows, one resample at a time, for the
stratum that holds all perturbations; it is timed on a tenth of the resamples. The large run is that of `large_run`, by
default of 5 000 000 score rows, which takes 300 MB of disk for as long: one thread, each way in a process of its own
with imports, records in the file cache; ``join`` finds nothing that was joined before, ``again`` all of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pertharness.contract.cards import MetricOffer
from pertharness.host.leaderboard.compare import build_leaderboard
from pertharness.host.leaderboard.comparison import Comparison, TaskSettings

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
    """Return the leaderboard's rows, its seconds, and those of the plain loop."""
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


def measure_large(n_rows: int) -> dict[str, dict[str, Any]]:
    """Return seconds, processor seconds and peak memory of each way of `large_run`."""
    script = str(Path(__file__).with_name("large_run.py"))

    def carry_out(way: str, *options: str) -> str:
        command = [sys.executable, "-W", "ignore", script, way, *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        carry_out("make", folder, str(n_rows))
        return {way: json.loads(carry_out(way, folder)) for way in ("join", "again", "plain")}


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=5_000_000)
    options = parser.parse_args()
    n_rows, seconds, plain = measure(options.resamples)
    print(f"leaderboard of {n_rows} rows, intervals, ranks and verdicts included: {seconds:.2f} s")
    print(f"plain loop, intervals of one stratum alone: {plain:.1f} s, {plain / seconds:.0f} times as long")
    found = measure_large(options.rows)
    names = {
        "join": f"all files of a run of {options.rows} score rows",
        "again": "the same again, nothing changed",
        "plain": "pandas: read_csv of each table, concat, mean by groupby, to_csv of all",
    }
    for way, name in names.items():
        one, ratio = found[way], found[way]["cpu_s"] / found["plain"]["cpu_s"]
        spent = f"{one['seconds']:.1f} s, {one['cpu_s']:.1f} s of processor time"
        print(f"{name}: {spent}, {one['peak_mb']:.0f} MB; ratio of processor time to that of pandas {ratio:.2f}")


if __name__ == "__main__":
    main()
