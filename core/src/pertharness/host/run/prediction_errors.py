"""How far to trust a model on a screen: its errors on perturbations that it was not trained on."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.host.plugins.registry import Registry
from pertharness.host.recipe import Recipe, make_recipe
from pertharness.host.run.prepare import prepare
from pertharness.host.run.quick import REFERENCES, SPLITS
from pertharness.host.store.records import Store

if TYPE_CHECKING:
    import pandas as pd

    from pertharness.host.run.reporter import Reporter

METRIC = "l2"


@dataclass(frozen=True)
class TaskErrors:
    """The errors of a model on one task.

    Attributes
    ----------
    task
        ``single`` or ``double``: what was held out.
    model, reference
        As on the leaderboard.
    l2, reference_l2
        Mean distance between predicted and observed means over the n perturbations; NaN if there is none.
    n
        Number of held-out values that both are compared on, over all splits.
    verdict
        As on the leaderboard: ``better``, ``worse``, ``undecided``, ``reference``, or empty.
    sentence
        What that means.
    """

    task: str
    model: str
    reference: str
    l2: float
    reference_l2: float
    n: int
    verdict: str
    sentence: str


def tasks_posed(queries: Iterable[str]) -> list[str]:
    """Return the tasks of the queries; perturbations of three or more targets belong to none."""
    counts = {query.count("+") + 1 for query in queries}
    return [task for number, task in ((1, "single"), (2, "double")) if number in counts]


def errors_recipe(
    dataset: Mapping[str, Mapping[str, Any]], model: str, tasks: Sequence[str], registry: Registry,
    seeds: str | Sequence[int] | None, resources: Mapping[str, Any],
) -> Recipe | None:  # fmt: skip
    """Return the recipe of the benchmark: the model and the references of the tasks; None if no scorer computes l2.

    Parameters
    ----------
    dataset
        Name -> what a recipe says of it.
    model, tasks, seeds, resources
        As in a recipe.
    """
    scorer = next((name for name, each in registry.scorers.items() if METRIC in {m.id for m in each.offer.metrics}), "")
    if not scorer:
        return None
    references = [REFERENCES[task] for task in tasks if REFERENCES[task] in registry.models]
    described = [{"name": task, "split": SPLITS[task], "reference": REFERENCES[task]} for task in tasks]
    chosen = {} if seeds is None else {"seeds": seeds}
    return make_recipe({
        "name": "errors", "datasets": dict(dataset), "tasks": described, "scorers": [scorer], **chosen,
        "models": list(dict.fromkeys([model, *references])), "resources": dict(resources),
    })  # fmt: skip


def measure_errors(recipe: Recipe, label: str, store: Store, reporter: Reporter) -> list[TaskErrors]:
    """Benchmark a model and its references on a screen, and return its errors by task.

    Parameters
    ----------
    recipe
        From `errors_recipe`.
    label
        The model's label on the leaderboard.
    """
    prepared = prepare(recipe, store, reporter)
    with tempfile.TemporaryDirectory(prefix="pertharness-") as temporary:
        folder = Path(temporary)
        prepared.carry_out(folder, reporter, command=("pertharness.predict",))
        with (folder / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if _is_total(row)]
    return [errors_of(task.name, task.reference, label, rows) for task in recipe.tasks]


def _is_total(row: Mapping[str, str]) -> bool:
    return row["metric"] == METRIC and row["variant"] == "default" and row["stratum"] == "all"


def errors_of(task: str, reference: str, label: str, rows: Sequence[Mapping[str, str]]) -> TaskErrors:
    """Return the errors of a model on one task, from the rows of the leaderboard."""
    by_label = {_label(row): row for row in rows if row["task"] == task}
    row, other = by_label.get(label), by_label.get(reference)
    value, reference_value = (float(each["value"] or "nan") if each else math.nan for each in (row, other))
    n = int(row["n"] or 0) if row else 0
    verdict = row["verdict"] if row else ""
    reason = "" if row is None else row["note"] or row["state"]
    return TaskErrors(
        task, label, reference, value, reference_value, n, verdict,
        _sentence(task, label, reference, verdict, n, is_scored=math.isfinite(value), reason=reason),
    )  # fmt: skip


def _label(row: Mapping[str, str]) -> str:
    from pertharness.host.leaderboard.comparison import model_label

    return model_label(row["model"], row["params"])


def _sentence(task: str, label: str, reference: str, verdict: str, n: int, *, is_scored: bool, reason: str) -> str:
    held_out = f"held-out {task}s of this screen"
    if not is_scored:
        return f"{label} was not scored on {held_out}{f' ({reason})' if reason else ''}."
    sentences = {
        "better": f"On {held_out}, {label} is more accurate than {reference}.",
        "worse": f"On {held_out}, {label} is less accurate than {reference}; use {reference}.",
        "undecided": f"On {held_out}, {label} is not clearly better or worse than {reference}.",
        "reference": f"{label} is itself the reference for {task}s.",
    }
    return sentences.get(verdict, f"{label} and {reference} cannot be compared on {held_out} ({n} scored).")


def as_frame(errors: Sequence[TaskErrors]) -> pd.DataFrame:
    """Return errors as a table, a row per task."""
    import pandas as pd

    columns = [each.name for each in fields(TaskErrors)]
    return pd.DataFrame([asdict(each) for each in errors], columns=columns)
