"""Make a run of many score rows on the disk, and time what comes after its jobs, in a process of its own.

    python benchmarks/large_run.py make FOLDER ROWS
    python benchmarks/large_run.py join|again|plain FOLDER

``join``: all files of the run, from its records; ``again``: the same once more, with nothing changed; ``plain``: the
score tables read by pandas, put together, averaged by model and metric and written, without intervals, ranks, verdicts
or order. Prints rows, seconds, processor seconds and the largest memory as JSON.
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import json
import sys
import time
from pathlib import Path

import numpy as np
from measure import peak_rss_mb
from pertharness.contract.cards import MetricOffer, ScorerOffer, TableOffer
from pertharness.contract.jobs import Artefact, Stage, Status
from pertharness.contract.scores import COLUMNS
from pertharness.files.whole import sha256_text
from pertharness.host.execution.nodes import Outcome
from pertharness.host.plan import Attempt, Plan, tasks_of
from pertharness.host.recipe import Recipe, make_recipe
from pertharness.host.store.records import Store

MODELS, SPLITS, SCORERS, METRICS = 25, 5, 4, 5
GENES, POINTS = 1000, 200
"""Rows of the table beside the scores of one scorer, and points of its curve."""


def scorers() -> dict[str, ScorerOffer]:
    """Return scorers of perturbations, and one with a curve and a table."""
    made = {
        f"scorer{i}": ScorerOffer(
            name=f"scorer{i}",
            summary="",
            metrics=tuple(MetricOffer(id=f"metric{i}{j}", direction="lower", best=0.0) for j in range(METRICS)),
        )
        for i in range(SCORERS)
    }
    curve = MetricOffer(id="curve", level="curve", direction="higher", best=None)
    table = TableOffer(name="spread", level="gene")
    return made | {"curves": ScorerOffer(name="curves", summary="", metrics=(curve,), tables=(table,))}


def make_plan() -> tuple[Recipe, Plan]:
    """Return the recipe and the plan of the run."""
    recipe = make_recipe({
        "name": "large", "datasets": {"made": {}}, "seeds": list(range(1, SPLITS + 1)),
        "tasks": [{"name": "double", "split": {"kind": "double"}, "reference": "model0", "common_set": ["model0"]}],
    })  # fmt: skip
    [task] = tasks_of(recipe)
    plan = Plan(datasets={"made": "none"}, scorers=scorers())
    for seed in recipe.seeds:
        for i in range(MODELS):
            scores = {name: sha256_text(f"{seed} {i} {name}") for name in plan.scorers}
            keys = {"prediction": sha256_text(f"{seed} {i}"), "scores": scores}
            plan.attempts.append(
                Attempt("made", task, seed, 1, "some", f"model{i}", "", sha256_text(f"{seed}"), **keys)
            )
    return recipe, plan


def make(folder: Path, n_rows: int) -> None:
    """Write the records of a run with so many score rows."""
    rng = np.random.default_rng(0)
    store = Store.open(folder / "store")
    _, plan = make_plan()
    names = [f"GENE{i}+GENE{i + 1}" for i in range(n_rows // (MODELS * SPLITS * SCORERS * METRICS))]
    for split in dict.fromkeys(one.split for one in plan.attempts):
        held = [names[i] for i in rng.permutation(len(names))]
        write_record(store, "splits", split, {"split.json": json.dumps({"train": [], "val": [], "test": held})})
    for one in plan.attempts:
        write_record(store, "predictions", one.prediction, {})
        for name, key in one.scores.items():
            offer = plan.scorers[name]
            files = {"scores.csv": score_table(offer, names, rng)}
            if offer.tables:
                spread = [f"G{i},{value!r}\n" for i, value in enumerate(rng.random(GENES).tolist())]
                files["spread.csv"] = "".join(["gene,sd\n", *spread])
            write_record(store, "scores", key, files)


def score_table(offer: ScorerOffer, names: list[str], rng: np.random.Generator) -> str:
    """Return scores as CSV."""
    lines = [",".join(COLUMNS)]
    for metric in offer.metrics:
        curve = metric.level == "curve"
        places = [f",,{metric.id},default,{x}" for x in range(POINTS)] if curve else [
            f"{name},,{metric.id},default," for name in names
        ]  # fmt: skip
        values = rng.gamma(4.0, size=len(places)).tolist()
        lines += [f"{place},{value!r}" for place, value in zip(places, values, strict=True)]
    return "\n".join([*lines, ""])


def write_record(store: Store, stage: Stage, key: str, files: dict[str, str]) -> None:
    """Write a record that is done."""
    folder = store.record(stage, key)
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    artefacts = {name: Artefact(size=len(text), sha256=sha256_text(text)) for name, text in files.items()}
    status = Status(key=key, state="done", artefacts=artefacts)
    (folder / "status.json").write_text(status.model_dump_json(), encoding="utf-8")


def join(folder: Path) -> None:
    """Write all files of the run, beginning with the records' statuses."""
    from pertharness.host.join.memory import read_memory
    from pertharness.host.join.outputs import write_outputs

    store, (recipe, plan) = Store(folder / "store"), make_plan()
    keys: dict[str, Stage] = {}
    for one in plan.attempts:
        keys |= {one.split: "splits", one.prediction: "predictions", **dict.fromkeys(one.scores.values(), "scores")}
    outcomes = {key: Outcome("done", "", store.status(stage, key)) for key, stage in keys.items()}
    write_outputs(recipe, plan, outcomes, store, folder / "run", {}, read_memory(folder / "run"))


def plain(folder: Path) -> None:
    """Do by pandas what a script would: read, put together, average, write."""
    import pandas as pd

    _, plan = make_plan()
    frames = []
    for one in plan.attempts:
        for key in one.scores.values():
            frame = pd.read_csv(folder / "store" / "scores" / key / "scores.csv", keep_default_na=False, na_values=[""])
            frames.append(frame.assign(dataset="made", seed=one.seed, model=one.model))
    scores = pd.concat(frames, ignore_index=True)
    means = scores.groupby(["dataset", "model", "metric", "variant"])["value"].mean()
    means.to_csv(folder / "means.csv")
    scores.to_csv(folder / "plain.csv.gz", index=False, compression={"method": "gzip", "compresslevel": 6})


def main() -> None:
    """Make the run, or time a way."""
    way, folder = sys.argv[1], Path(sys.argv[2])
    if way == "make":
        make(folder, int(sys.argv[3]))
        return
    started, began = time.perf_counter(), time.process_time()
    {"join": join, "again": join, "plain": plain}[way](folder)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "cpu_s": time.process_time() - began,
                "peak_mb": peak_rss_mb(),
            }
        )
    )


if __name__ == "__main__":
    main()
