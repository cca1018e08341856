"""Two runs compared: by the content of their data and splits, row by row of their leaderboards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.host.api.results import Run, load_run
from pertharness.host.api.run_comparison import RunComparison
from pertharness.host.leaderboard.comparison import model_label

if TYPE_CHECKING:
    import pandas as pd

ROW = ("dataset", "task", "plugin", "model", "params", "metric", "variant", "stratum")
"""What names a row of a leaderboard."""
COMPARED = ("value", "scored", "expected", "n", "rank", "verdict")
VERSIONS = ("version", "source", "environment", "python_version")
"""The fields of a plugin in the manifest."""


def compare(run_a: Run | str | Path, run_b: Run | str | Path) -> RunComparison:
    """Compare two runs: inputs, versions, and scores per model and metric.

    Data and splits are compared by their content, so that runs of two versions of pertharness can be compared.

    Parameters
    ----------
    run_a, run_b
        Runs, their folders, or their names under ``runs``.

    Returns
    -------
    RunComparison
        Tables of what differs; printed, a summary.

    Raises
    ------
    RecipeError
        If one is not the folder of a run.
    """
    import pandas as pd

    a, b = (run if isinstance(run, Run) else load_run(run) for run in (run_a, run_b))
    tasks = pd.DataFrame(_compare_tasks(a.manifest, b.manifest), columns=["dataset", "task", "comparable", "reason"])
    columns = ["kind", "name", "a", "b"]
    inputs = pd.DataFrame(_compare_inputs(a, b), columns=columns)
    versions = pd.DataFrame(_compare_versions(a.manifest, b.manifest), columns=columns[1:])
    return RunComparison(a, b, tasks, inputs, versions, _compare_scores(a.leaderboard, b.leaderboard, tasks))


def _contents(manifest: Mapping[str, Any], keys: Mapping[Any, str]) -> dict[Any, str]:
    """Return an identifier of the content of records: the sum of their files, or their key if that is unknown."""
    return {name: manifest["records"].get(key, {}).get("artefacts") or key for name, key in keys.items()}


def _splits(manifest: Mapping[str, Any]) -> dict[tuple[str, str, int], str]:
    """Return the content of each split by dataset, task and seed."""
    attempts = manifest["attempts"]
    keys = {(attempt["dataset"], attempt["task"], attempt["seed"]): attempt["split"] for attempt in attempts}
    return _contents(manifest, keys)


def _compare_tasks(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, bool, str]]:
    """Yield dataset and task, whether both runs posed the same one, and if not the reason."""
    data_a, data_b = (_contents(run, run["datasets"]) for run in (a, b))
    splits_a, splits_b = _splits(a), _splits(b)
    for dataset, task in dict.fromkeys(key[:2] for key in (*splits_a, *splits_b)):
        seeds_a, seeds_b = (
            {key[2]: split for key, split in splits.items() if key[:2] == (dataset, task)}
            for splits in (splits_a, splits_b)
        )
        if not seeds_a or not seeds_b:
            reason = f"only run {'A' if seeds_a else 'B'} has this task"
        elif data_a.get(dataset) != data_b.get(dataset):
            reason = "other data"
        elif {*seeds_a} != {*seeds_b}:
            reason = f"other split seeds: {_listed(seeds_a)} against {_listed(seeds_b)}"
        elif different := [seed for seed in seeds_a if seeds_a[seed] != seeds_b[seed]]:
            reason = f"other splits (seed {_listed(different)})"
        else:
            reason = ""
        yield dataset, task, not reason, reason


def _listed(seeds: Mapping[int, Any] | list[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))


def _compare_inputs(a: Run, b: Run) -> Iterator[tuple[str, str, str, str]]:
    """Yield the datasets, splits, models and metrics that are not the same in both runs."""
    contents_a, contents_b = _contents_by_kind(a), _contents_by_kind(b)
    for kind, in_a in contents_a.items():
        in_b = contents_b[kind]
        for name in dict.fromkeys((*in_a, *in_b)):
            if in_a.get(name) != in_b.get(name):
                yield kind, name, in_a.get(name, "-")[:12], in_b.get(name, "-")[:12]


def _contents_by_kind(run: Run) -> dict[str, dict[str, str]]:
    """Return what identifies the inputs of a run, by kind and name."""
    manifest = run.manifest
    attempts = manifest["attempts"]
    splits = _splits(manifest)
    return {
        "dataset": _contents(manifest, manifest["datasets"]),
        "split": {f"{dataset} {task} seed {seed}": splits[dataset, task, seed] for dataset, task, seed in splits},
        "model": {model_label(attempt["model"], attempt["params"]): attempt["plugin"] for attempt in attempts},
        "metric": dict.fromkeys(run.leaderboard["metric"], "scored"),
    }


def _compare_versions(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield versions that are not the same in both runs."""
    versions_a, versions_b = _versions(a), _versions(b)
    for name in dict.fromkeys((*versions_a, *versions_b)):
        if versions_a.get(name) != versions_b.get(name):
            yield name, versions_a.get(name, "-")[:40], versions_b.get(name, "-")[:40]


def _versions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return all versions in a manifest."""
    versions = {name: str(manifest.get(name, "-")) for name in ("pertharness", "python", "platform")}
    for plugin, facts in manifest.get("plugins", {}).items():
        versions |= {f"{plugin} {name}": str(facts[name]) for name in VERSIONS if facts.get(name)}
        versions |= {f"{plugin}: {name}": str(version) for name, version in facts.get("packages", {}).items()}
    return versions


def _compare_scores(a: pd.DataFrame, b: pd.DataFrame, tasks: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of two leaderboards side by side."""
    import numpy as np

    rows = a[[*ROW, *COMPARED]].merge(
        b[[*ROW, *COMPARED]], on=list(ROW), how="outer", suffixes=("_a", "_b"), indicator="where", sort=False
    )
    rows = rows.merge(tasks[["dataset", "task", "comparable"]], on=["dataset", "task"], how="left")
    rows["in_a"], rows["in_b"] = rows.pop("where").pipe(lambda where: (where != "right_only", where != "left_only"))
    rows["comparable"] = rows["comparable"].fillna(value=False).astype(bool)
    difference = np.where(rows["comparable"] & (rows["n_a"] == rows["n_b"]), rows["value_b"] - rows["value_a"], np.nan)
    rows.insert(len(ROW), "difference", difference)
    return rows
