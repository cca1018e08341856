"""A run as an object: its tables, its predictions and its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import RecipeError
from pertharness.host.api.arguments import as_path
from pertharness.host.api.frames import RunTables, read_frame
from pertharness.host.api.run_records import Failure, Record, failures_of, find_record
from pertharness.host.run.read_predictions import find_attempt, read_prediction
from pertharness.host.run.run_folder import folder_of_run, read_manifest
from pertharness.host.store.records import Store

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True, repr=False)
class Run:
    """A run that was carried out; made by `pertharness.run` and `pertharness.load_run`.

    Every table is read from its file when it is asked for: keep it in a variable to use it twice.

    Attributes
    ----------
    folder
        The run's folder, with all of its files.
    manifest
        Content of ``manifest.json``: versions, plugins, data, attempts and records.
    store_path
        Folder of the records; by default the one that the manifest names.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(compare=False)
    store_path: Path | None = None

    @property
    def name(self) -> str:
        """Name of the run."""
        return str(self.manifest.get("name") or self.folder.name)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row per dataset, task, model, metric, variant and stratum: see ``docs/leaderboard.md``."""
        return read_frame(self.folder / "leaderboard.csv")

    @property
    def scores(self) -> pd.DataFrame:
        """One row per score: dataset, split, model, perturbation, metric, variant, value and state."""
        return read_frame(self.folder / "scores.csv.gz")

    @property
    def costs(self) -> pd.DataFrame:
        """Time in seconds and memory in MB of each phase of each job."""
        return read_frame(self.folder / "costs.csv")

    @property
    def tables(self) -> RunTables:
        """The tables beside the leaderboard, by name."""
        return RunTables(self.folder / "tables", self.manifest.get("tables", {}))

    @property
    def failed(self) -> tuple[Failure, ...]:
        """What failed; empty if nothing did. What was skipped is no failure."""
        return failures_of(self.manifest)

    @property
    def states(self) -> dict[str, int]:
        """State -> number of jobs, and of attempts without a job."""
        counts: Counter[str] = Counter(record["state"] for record in self.manifest["records"].values())
        counts.update(attempt["state"] for attempt in self.manifest["attempts"] if attempt["reason"])
        return dict(sorted(counts.items()))

    @property
    def notes(self) -> list[str]:
        """What was decided that a reader may not expect, and how the data were understood."""
        of_data = self.manifest.get("dataset_notes", {})
        return [*self.manifest.get("notes", []), *(f"{name}: {note}" for name in of_data for note in of_data[name])]

    @property
    def report(self) -> Path:
        """The page with every table."""
        return self.folder / "report" / "index.html"

    def predictions(
        self, model: str, *, dataset: str | None = None, task: str | None = None, seed: int | None = None,
        training_seed: int | None = None,
    ) -> AnnData:  # fmt: skip
        """Return what a model predicted.

        Parameters
        ----------
        model
            As it stands on the leaderboard: ``mean``, or with its parameters ``linear[k=4]``.
        dataset, task, seed, training_seed
            Which of its predictions, where the run has several.

        Returns
        -------
        AnnData
            Shape (n_answered, n_genes), float64, log1p of counts per 10 000; ``obs["perturbation"]`` are the queries.
            What the model left out is in ``uns["unanswered"]``, why in ``uns["reasons"]``.

        Raises
        ------
        RecipeError
            If the run has no such prediction, or several.
        DataError
            If the model has none there, with its state and the reason.
        StoreError
            If the record is not in the store any more.
        """
        attempt = find_attempt(self.manifest, model, dataset=dataset, task=task, seed=seed, training_seed=training_seed)
        return read_prediction(self.manifest, attempt, self._store())

    def record(self, key: str) -> Record:
        """Return the record whose key starts with `key`; keys stand in `scores`, `costs` and `manifest`.

        Raises
        ------
        RecipeError
            If the key is not a text.
        StoreError
            If there is none, or there are several.
        """
        if not isinstance(key, str):
            raise RecipeError(f"key is {key!r:.80}; expected a text, as in run.scores['record']")
        return find_record(self._store(), key)

    def _store(self) -> Store:
        return Store.existing(self.store_path or Path(self.manifest["store"]))

    def __repr__(self) -> str:
        jobs = ", ".join(f"{number} {state}" for state, number in self.states.items())
        return f"Run({self.name!r} in {str(self.folder)!r}: {jobs})"

    def _repr_html_(self) -> str:
        from pertharness.host.api.html import html_of_run

        return html_of_run(repr(self), self.folder, self.failed)


def load_run(run: str | Path, *, store: str | Path | None = None) -> Run:
    """Return a run that was carried out before.

    Parameters
    ----------
    run
        The run's folder, or its name under ``runs``.
    store
        Folder of its records, if it was moved.

    Raises
    ------
    RecipeError
        If it is not the folder of a run.
    """
    folder = folder_of_run(as_path("run", run)).absolute()
    return Run(folder, read_manifest(folder), as_path("store", store).absolute() if store is not None else None)
