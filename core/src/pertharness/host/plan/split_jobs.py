"""Between a dataset's record and the rules of the splits: labels in, ``split.json`` out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pertharness.contract.errors import Skip, SplitError
from pertharness.contract.stages import PERTURBATIONS, SPLIT
from pertharness.host.recipe import TaskChoice
from pertharness.host.splits import Labelled, Split, make_split, read_split, write_split
from pertharness.host.store.records import Store


def read_labels(folder: Path) -> list[Labelled]:
    """Return the labels of a dataset's record, in the order of their first appearance."""
    with (folder / PERTURBATIONS).open(newline="", encoding="utf-8") as file:
        return [
            Labelled(row["perturbation"], row["label_given"], _other(row.get("genes"), row["perturbation"]))
            for row in csv.DictReader(file)
        ]


def _other(genes: str | None, perturbation: str) -> str:
    """Return the genes of a perturbation's guides, or an empty text if they are its targets."""
    return genes if genes and genes != perturbation else ""


def split_of(task: TaskChoice, seed: int, labels: Sequence[Labelled]) -> Split:
    """Return the split of a task for a seed.

    Raises
    ------
    SplitError
        If the rule cannot split these perturbations, or the split's file does not fit them.
    """
    if task.split.file is not None:
        return read_split(task.split.file, labels, dataset=str(task.dataset))
    rule = task.split
    return make_split(
        labels, kind=rule.kind, seed=seed, variant=rule.variant, dataset=str(task.dataset), params=rule.params
    )


def make_split_writer(folder: Path, task: TaskChoice, seed: int) -> Callable[[Path], None]:
    """Return a function that writes ``split.json`` into a job's folder; the dataset's record must exist by then."""

    def write(work: Path) -> None:
        try:
            split = split_of(task, seed, read_labels(folder))
        except SplitError as error:
            if task.split.file is not None:
                raise
            raise Skip(str(error)) from None  # the data has nothing to hold out in this way: a result, not a failure
        write_split(split, work / SPLIT)

    return write


def split_label(task: TaskChoice) -> str:
    """Return the split's name in tables: its kind, with its variant if it has one."""
    return f"{task.split.kind}:{task.split.variant}" if task.split.variant else task.split.kind


def read_parts(store: Store, key: str) -> dict[str, list[str]]:
    """Return the lists of a split's record."""
    parts: dict[str, list[str]] = json.loads((store.record("splits", key) / SPLIT).read_text(encoding="utf-8"))
    return parts


def queries_of(store: Store, key: str, score_on: Sequence[str]) -> list[str]:
    """Return the perturbations that a split holds out, of the parts that are scored."""
    parts = read_parts(store, key)
    return [query for part in score_on for query in parts[part]]
