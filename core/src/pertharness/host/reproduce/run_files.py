"""The files of a run, as far as published numbers are measured from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import PertharnessError
from pertharness.contract.stages import PERTURBATIONS, SPLIT
from pertharness.host.leaderboard.comparison import model_label
from pertharness.host.plan import tasks_of
from pertharness.host.recipe import Recipe, TaskChoice, read_recipe

if TYPE_CHECKING:
    import pandas as pd


class NotMeasured(PertharnessError):
    """A quantity that this run does not have; the message is the reason."""


@dataclass(frozen=True)
class RunFiles:
    """The folder of a run, and the records in its manifest.

    Attributes
    ----------
    common_sets
        Dataset -> the models of the published common set, where the run has only some of them; by default the
        ``common_set`` of the run's own tasks.
    """

    folder: Path
    common_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest."""
        manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        return manifest

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return read_recipe(self.folder / "recipe.toml", must_exist=False)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """All scores with a value: ``scores.csv.gz`` with the model's ``label``."""
        import pandas as pd

        scores = pd.read_csv(
            self.folder / "scores.csv.gz", keep_default_na=False, na_values={"value": [""], "coordinate": [""]},
            dtype={"params": str, "gene": str, "perturbation": str},
        )  # fmt: skip
        names = scores[["model", "params"]].drop_duplicates()
        labels = {pair: model_label(*pair) for pair in names.itertuples(index=False, name=None)}
        pairs = zip(scores["model"], scores["params"], strict=True)
        done: pd.DataFrame = scores.assign(label=[labels[pair] for pair in pairs])
        return done[done["value"].notna()]

    @property
    def labels(self) -> list[str]:
        """Names of the models on the leaderboard, including those without results."""
        return list(
            dict.fromkeys(model_label(attempt["model"], attempt["params"]) for attempt in self.manifest["attempts"])
        )

    def task(self, dataset: str) -> TaskChoice:
        """Return the first task of a dataset."""
        choice = next((task for task in tasks_of(self.recipe) if task.dataset == dataset), None)
        if choice is None:
            raise NotMeasured(f"the run has no task for the dataset {dataset!r}")
        return choice

    def record(self, stage: str, key: str, name: str) -> Path:
        """Return a file of a record of the run; raise `NotMeasured` with the record's message if it is missing."""
        entry = self.manifest["records"].get(key, {"state": "unknown", "message": ""})
        path = Path(self.manifest["store"]) / stage / key / name
        if entry["state"] != "done" or not path.is_file():
            reason = entry["message"] or f"{name} is no longer in the store"
            raise NotMeasured(f"{entry.get('title', stage)}: {entry['state']}: {reason.splitlines()[0]}")
        return path

    def perturbations(self, dataset: str) -> list[str]:
        """Return the perturbations of a dataset, the control among them."""
        import pandas as pd

        key = self.manifest["datasets"].get(dataset)
        if key is None:
            raise NotMeasured(f"the run has no dataset {dataset!r}")
        path = self.record("datasets", key, PERTURBATIONS)
        return list(pd.read_csv(path, dtype=str, keep_default_na=False)["perturbation"])

    def splits(self, dataset: str) -> dict[int, dict[str, list[str]]]:
        """Return the splits of a dataset, by seed: part -> perturbations."""
        task = self.task(dataset)
        mine = [
            attempt
            for attempt in self.manifest["attempts"]
            if (attempt["dataset"], attempt["task"]) == (dataset, task.name)
        ]
        parts = {attempt["seed"]: self.record("splits", attempt["split"], SPLIT) for attempt in mine}
        return {seed: json.loads(path.read_text(encoding="utf-8")) for seed, path in parts.items()}

    def held_out(self, dataset: str) -> dict[int, list[str]]:
        """Return the held-out and scored perturbations of a dataset, by split seed."""
        scored = self.task(dataset).score_on
        splits = self.splits(dataset)
        return {seed: [name for part in scored for name in split[part]] for seed, split in splits.items()}

    def answered(self, dataset: str) -> dict[int, set[str]]:
        """Return, by split seed, the perturbations that every model of the common set answered.

        Raises
        ------
        NotMeasured
            If one of these models answered nothing.
        """
        task = self.task(dataset)
        held = self.held_out(dataset)
        mine = self.scores[(self.scores["dataset"] == dataset) & (self.scores["task"] == task.name)]
        mine = mine[(mine["metric"] == "l2") & (mine["variant"] == "default")]
        answers = mine.groupby(["label", "seed"])["perturbation"].agg(set).to_dict()
        common_set = self.common_sets.get(dataset, task.common_set)
        silent = [name for name in common_set if not any((name, seed) in answers for seed in held)]
        if silent:
            raise NotMeasured(f"needs answers of {', '.join(silent)}; there is none ({self._why(silent[0])})")
        return {
            seed: set(names).intersection(*(answers.get((label, seed), set()) for label in common_set))
            for seed, names in held.items()
        }

    def _why(self, label: str) -> str:
        """Return why the first attempt of a model has no scores."""
        for attempt in self.manifest["attempts"]:
            if model_label(attempt["model"], attempt["params"]) == label:
                record = self.manifest["records"].get(attempt["prediction"], {})
                reason: str = attempt["reason"] or record.get("message") or "none of its answers has a score"
                return f"{label}: {reason.splitlines()[0].split(';')[0]}"
        return f"{label}: not among the models of the run"

    def table(self, name: str, dataset: str) -> pd.DataFrame:
        """Return the rows of a dataset in one of the run's joined tables."""
        import pandas as pd

        path = self.folder / "tables" / f"{name}.csv"
        if not path.is_file():
            raise NotMeasured(f"the run has no table {name!r}: no scorer of it left one")
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
        mine: pd.DataFrame = table[table["dataset"] == dataset] if "dataset" in table else table
        if mine.empty:
            raise NotMeasured(f"the table {name!r} has no row of {dataset!r}")
        return mine
