"""The recipe of a command line without a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.contract.labels import CONTROL
from pertharness.host.recipe import Recipe, make_recipe
from pertharness.host.run.datasets import dataset_entry, dataset_name

REFERENCES = {"double": "additive", "single": "mean", "mixed": "mean"}
"""The baseline that each task's verdicts compare with (doi 10.1038/s41592-025-02772-6, Fig. 1a and 2a)."""

SPLITS: dict[str, dict[str, Any]] = {"double": {"kind": "double"}, "single": {"kind": "unseen"}}


def quick_recipe(
    data: Sequence[str | Path] | Mapping[str, str | Path], *, tasks: Sequence[str] = (), split: Path | None = None,
    params: Mapping[str, Any] | None = None, own_params: Mapping[str, Mapping[str, Any]] | None = None,
) -> Recipe:  # fmt: skip
    """Return the recipe of ``run --all``: the demo data or the given ones, both tasks or the given split.

    Parameters
    ----------
    data
        Files, or as text also names of datasets on offer; with the names that they are to have, where the files' are
        not to be taken.
    tasks
        Of ``double`` and ``single``; both by default.
    split
        JSON of a split, in place of those that are drawn.
    params
        How the data are read.
    own_params
        How the dataset of a name is read where `params` does not say otherwise.

    Raises
    ------
    RecipeError
        If the split's file cannot be read, or two files have the same name.
    """
    named = data if isinstance(data, Mapping) else {dataset_name(item): item for item in data}
    if len(named) < len(data):
        raise RecipeError(f"two of {[str(item) for item in data]} have the same name; rename one, it names the dataset")
    own = own_params or {}
    datasets = {
        name: dataset_entry(item, {**own.get(name, {}), **(params or {})})
        for name, item in (named or {"demo": "demo"}).items()
    }
    if split is not None:
        name = tasks[0] if tasks else task_of_split(split)
        entries = [{"name": name, "split": {"kind": "file", "file": split.absolute()}, "reference": REFERENCES[name]}]
    else:
        entries = [{"name": name, "split": SPLITS[name], "reference": REFERENCES[name]} for name in tasks or SPLITS]
    name = "-".join(datasets)[:80]
    described = [{**entry, "dataset": dataset} for dataset in datasets for entry in entries]
    return make_recipe({"name": name, "datasets": datasets, "tasks": described})


def task_of_split(path: Path) -> str:
    """Return the task of a split's file: ``double`` or ``single`` if it holds out only these, else ``mixed``.

    Raises
    ------
    RecipeError
        If the file cannot be read, or its labels do not say: another separator, or another control.
    """
    import json

    try:
        parts = json.loads(path.read_text(encoding="utf-8"))
        test = [str(label) for label in parts["test"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"the split {str(path)!r} cannot be read ({error}); expected JSON with the lists train, val and test"
        ) from None
    counts = {len(set(label.split("+")) - {"ctrl", CONTROL}) for label in test}
    odd = [label for label in test if re.search(r"[_|;,&/]|non-?target|\bnt[c]?\b", label, re.IGNORECASE)]
    own = isinstance(parts, dict) and "hash" in parts  # written by `pertharness split`: canonical labels
    if odd and not own:
        raise RecipeError(
            f"the split {str(path)!r} holds out labels such as {odd[0]!r}: one target or two? "
            "say --task double or --task single"
        )
    return {frozenset({1}): "single", frozenset({2}): "double"}.get(frozenset(counts), "mixed")
