"""Inputs of the leaderboard beside the scores: tables of scorers, strata of perturbations, metrics and settings."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from pertharness.contract.cards import MetricOffer, TableOffer
from pertharness.contract.stages import PERTURBATIONS
from pertharness.host.execution.nodes import Outcome
from pertharness.host.join.reasons import is_done
from pertharness.host.leaderboard.comparison import TaskSettings
from pertharness.host.leaderboard.pooled import Piece
from pertharness.host.plan import Plan
from pertharness.host.plan.split_jobs import split_label
from pertharness.host.store.records import Store


def tables_of(plan: Plan, outcomes: Mapping[str, Outcome], store: Store) -> dict[str, tuple[TableOffer, list[Piece]]]:
    """Return the tables beside the scores: name -> offer on the card, and the tables of the records."""
    tables: dict[str, tuple[TableOffer, list[Piece]]] = {
        table.name: (table, []) for offer in plan.scorers.values() for table in offer.tables
    }
    for attempt in plan.attempts:
        owner = (
            attempt.dataset, attempt.task.name, attempt.plugin, attempt.model, attempt.params, attempt.training_seed,
        )  # fmt: skip
        for name, key in attempt.scores.items():
            status = outcomes[key].status if is_done(outcomes, key) else None
            for table in plan.scorers[name].tables if status else ():
                artefact = status.artefacts.get(f"{table.name}.csv")  # type: ignore[union-attr]
                if artefact is not None:
                    path = store.record("scores", key) / f"{table.name}.csv"
                    piece = Piece(*owner, split_label(attempt.task), attempt.seed, path, artefact.sha256)
                    tables[table.name][1].append(piece)
    return tables


def settings_of(plan: Plan) -> dict[tuple[str, str], TaskSettings]:
    """Return the recipe's settings for the comparison of models: (dataset, task) -> settings."""
    return {
        (attempt.dataset, attempt.task.name): TaskSettings(attempt.task.reference, tuple(attempt.task.common_set))
        for attempt in plan.attempts
    }


def metrics_of(plan: Plan) -> dict[str, MetricOffer]:
    """Return the metrics of all scorers, by id."""
    return {metric.id: metric for offer in plan.scorers.values() for metric in offer.metrics}


def strata_of(plan: Plan, store: Store) -> pd.DataFrame:
    """Return effect size and on-target state of every perturbation of each dataset with a record."""
    frames = [pd.DataFrame({"dataset": [], "perturbation": [], "effect": [], "on_target": []}, dtype=object)]
    for name, key in plan.datasets.items():
        path = store.record("datasets", key) / PERTURBATIONS
        if store.status("datasets", key) is not None and path.exists():
            table = pd.read_csv(path, keep_default_na=False, dtype=str)
            table["effect"] = pd.to_numeric(table["effect"], errors="coerce")
            table["on_target"] = table["on_target"].map({"True": "yes", "False": "no"}).fillna("")
            frames.append(table.assign(dataset=name)[["dataset", "perturbation", "effect", "on_target"]])
    return pd.concat(frames[1:], ignore_index=True) if len(frames) > 1 else frames[0]
