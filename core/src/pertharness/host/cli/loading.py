"""The record of one dataset, loaded if it is not in the store yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pertharness.contract.errors import ChoiceError, DataError, RecipeError
from pertharness.host.cli.streams import echo


def load_record(data: str, params: dict[str, Any], store_path: Path | None) -> tuple[str, Path]:
    """Return name and record folder of a dataset, a file or an offer such as ``demo``; print what loading did.

    Raises as `find_record` does.
    """
    name, folder, notes = find_record(data, params, store_path)
    for note in notes:
        echo(f"  {note}")
    return name, folder


def find_record(data: str, params: dict[str, Any], store_path: Path | None) -> tuple[str, Path, list[str]]:
    """Return name and record folder of a dataset, loaded if it is not in the store yet, and what loading did.

    Raises
    ------
    DataError
        If it cannot be loaded, with the reason.
    RecipeError
        If there is no such file and no such dataset, or the file leaves a choice that a flag decides.
    """
    from pertharness.host.cli.fetching import fetch_shown
    from pertharness.host.execution.runner import Runner
    from pertharness.host.plugins.registry import look_up, open_registry
    from pertharness.host.recipe import make_recipe
    from pertharness.host.run.quick import dataset_name
    from pertharness.host.run.session import make_executor, plan_run
    from pertharness.host.store.in_use import use_records
    from pertharness.host.store.records import Store
    from pertharness.host.text.did_you_mean import expected

    path = Path(data)
    is_file = path.suffix == ".h5ad" or path.exists()
    store = Store.open(store_path)
    registry = open_registry()
    if not is_file and look_up(registry.datasets, data) is None:
        raise RecipeError(f"there is no file and no dataset {data!r}; {expected(data, registry.datasets)}")
    name = dataset_name(path) if is_file else data.replace("/", "-")
    entry = {"file": path.absolute(), "params": params} if is_file else {"offer": data, "params": params}
    recipe = make_recipe({"name": name, "datasets": {name: entry}, "tasks": []})
    executor = make_executor(recipe, store)
    plan = plan_run(recipe, registry, store, executor, fetch_shown)
    key = plan.datasets[name]
    click.get_current_context().with_resource(use_records(store, [key]))  # until the command ends
    outcome = Runner(store, executor, retry=frozenset({"failed", "crashed", "timeout", "invalid", "skipped"})).run(
        [plan.nodes[key]]
    )[key]
    if outcome.status is not None and outcome.status.type == ChoiceError.__name__:
        raise RecipeError(outcome.message)
    if outcome.state != "done":
        raise DataError(outcome.message)
    return name, store.record("datasets", key), list(outcome.status.notes) if outcome.status else []
