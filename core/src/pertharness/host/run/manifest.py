"""The manifest of a run: what was run, on which data, with which plugins, and the outcome of each job."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.dataset_notes import notes_by_dataset, notes_by_file
from pertharness.host.join.left_out import left_out_by_dataset
from pertharness.host.plan import Plan
from pertharness.host.plugins.registry import Registry
from pertharness.host.recipe import Recipe
from pertharness.host.run.run_folder import MANIFEST_FORMAT
from pertharness.host.store.records import Store
from pertharness.host.store.sums import sums_of_record
from pertharness.version import __version__


def make_manifest(
    recipe: Recipe, registry: Registry, store: Store, plan: Plan, outcomes: Mapping[str, Outcome],
    command: Sequence[str], started: datetime,
) -> dict[str, Any]:  # fmt: skip
    """Return the content of ``manifest.json``, except for the names of the tables beside the scores."""
    records = {
        key: {
            "stage": node.stage,
            "title": node.title,
            "state": outcomes[key].state,
            "message": outcomes[key].message,
            **sums_of_record(store.record(node.stage, key), outcomes[key].status),
        }
        for key, node in plan.nodes.items()
    }
    attempts = [
        {
            "dataset": attempt.dataset, "task": attempt.task.name, "seed": attempt.seed,
            "training_seed": attempt.training_seed, "plugin": attempt.plugin, "model": attempt.model,
            "params": attempt.params, "split": attempt.split, "prediction": attempt.prediction,
            "scores": attempt.scores, "common": attempt.common, "reason": attempt.reason, "state": attempt.state,
        }
        for attempt in [*plan.attempts, *plan.duplicates]
    ]  # fmt: skip
    plugins = {
        name: {
            **plugin.identity(), "python": str(plugin.python), "python_version": plugin.python_version,
            "environment_folder": plugin.folder, "packages": dict(plugin.packages),
        }
        for name, plugin in registry.plugins.items()
    }  # fmt: skip
    notes = notes_by_dataset(plan, outcomes)
    return {
        "format": MANIFEST_FORMAT, "name": recipe.name, "pertharness": __version__, "python": platform.python_version(),
        "platform": platform.platform(), "cores": os.cpu_count(), "command": list(command), "store": str(store.root),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "plugins": plugins,
        "problems": [{"plugin": p.plugin, "state": p.state, "message": p.message} for p in registry.problems],
        "notes": plan.notes, "datasets": plan.datasets, "dataset_notes": notes,
        "prediction_notes": notes_by_file(plan, outcomes),
        "left_out": left_out_by_dataset(plan, outcomes, store, notes),
        "attempts": attempts, "records": records,
        "executable": sys.executable,
    }  # fmt: skip
