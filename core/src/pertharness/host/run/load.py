"""The record of one dataset, which is loaded if it is not in the store yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertharness.contract.errors import ChoiceError, DataError, RecipeError
from pertharness.host.execution.runner import Runner
from pertharness.host.plugins.registry import look_up, open_registry
from pertharness.host.recipe import make_recipe
from pertharness.host.run.datasets import dataset_entry, dataset_name, is_file
from pertharness.host.run.prepare import make_executor, plan_run
from pertharness.host.run.reporter import Reporter, fetch_reported
from pertharness.host.store.in_use import use_records
from pertharness.host.store.records import Store
from pertharness.host.text.did_you_mean import expected

_EVERY_STATE_BUT_DONE = frozenset({"failed", "crashed", "timeout", "invalid", "skipped"})


@dataclass(frozen=True)
class LoadedRecord:
    """The record of a dataset."""

    name: str
    folder: Path
    notes: tuple[str, ...]
    """Notes on how its file was understood."""


@contextlib.contextmanager
def load_record(
    data: str | Path, params: Mapping[str, Any], store: Store, reporter: Reporter
) -> Iterator[LoadedRecord]:
    """Yield the record of a file or a dataset on offer, loaded if necessary; it is not removed meanwhile.

    Raises
    ------
    DataError
        If it cannot be loaded, with the reason.
    RecipeError
        If there is no such file and no such dataset, or the file leaves a choice that an option decides.
    """
    registry = open_registry()
    if not is_file(data) and look_up(registry.datasets, str(data)) is None:
        raise RecipeError(f"there is no file and no dataset {data!r}; {expected(str(data), registry.datasets)}")
    name = dataset_name(data)
    recipe = make_recipe({"name": name, "datasets": {name: dataset_entry(data, params)}, "tasks": []})
    executor = make_executor(recipe, store)
    plan = plan_run(recipe, registry, store, executor, lambda name, source: fetch_reported(name, source, reporter))
    key = plan.datasets[name]
    with use_records(store, [key]):
        outcome = Runner(store, executor, retry=_EVERY_STATE_BUT_DONE).run([plan.nodes[key]])[key]
        if outcome.status is not None and outcome.status.type == ChoiceError.__name__:
            raise RecipeError(outcome.message)
        if outcome.state != "done":
            raise DataError(outcome.message)
        notes = tuple(outcome.status.notes) if outcome.status else ()
        yield LoadedRecord(name, store.record("datasets", key), notes)
