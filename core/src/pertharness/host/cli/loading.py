"""The record of one dataset, loaded if it is not in the store yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pertharness.errors import DataError


def load_record(data: str, params: dict[str, Any], store_path: Path | None) -> tuple[str, Path]:
    """Give name and record folder of a dataset, a file or an offer such as ``demo``; print what loading did.

    Raises
    ------
    DataError
        If it cannot be loaded, with the reason.
    """
    from pertharness.host.cli.data import fetch_shown
    from pertharness.host.quick import dataset_name
    from pertharness.host.recipe import Recipe
    from pertharness.host.registry import open_registry
    from pertharness.host.runner import Runner
    from pertharness.host.session import plan_run
    from pertharness.host.store import Store

    path = Path(data)
    is_file = path.suffix == ".h5ad" or path.exists()
    name = dataset_name(path) if is_file else data
    entry = {"file": path.absolute(), "params": params} if is_file else {"offer": data, "params": params}
    recipe = Recipe.model_validate({"name": name, "datasets": {name: entry}, "tasks": []})
    store = Store.open(store_path)
    plan = plan_run(recipe, open_registry(store), store, fetch_shown)
    key = plan.datasets[name]
    outcome = Runner(store, retry=frozenset({"failed", "crashed", "timeout", "invalid", "skipped"})).run(
        [plan.nodes[key]]
    )[key]
    if outcome.state != "done":
        raise DataError(outcome.message)
    for note in outcome.status.notes if outcome.status else ():
        click.echo(f"  {note}")
    return name, store.record("datasets", key)
