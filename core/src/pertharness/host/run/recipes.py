"""The recipe of a run: from a file or from data, with the caller's choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.host.recipe import (
    ModelSpec,
    Recipe,
    check_not_empty,
    demo_recipe,
    make_recipe,
    parse_model,
    parse_models,
    parse_seeds,
    read_recipe,
)
from pertharness.host.run.quick import quick_recipe


@dataclass(frozen=True)
class Choices:
    """The caller's choices, in addition to a recipe or instead of one; None leaves an entry to the recipe.

    Attributes
    ----------
    data, tasks, split
        Of a run without a recipe: see `pertharness.host.run.quick.quick_recipe`.
    params, own_params
        How the data are read, of a run without a recipe: all of them, and each by its name.
    demo
        The demo data take the place of the recipe's.
    seeds, models, scorers
        As texts such as ``1-5`` and ``mean,linear[k=4]``, or as lists.
    keep_models
        The records keep the fitted models.
    no_oracle
        Models that are given observed values of held-out cells are skipped.
    resources
        Of the recipe's ``resources``, those that are chosen.
    """

    data: Sequence[str | Path] | Mapping[str, str | Path] = ()
    tasks: Sequence[str] = ()
    split: Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    own_params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    demo: bool = False
    name: str | None = None
    seeds: str | Sequence[int] | None = None
    models: str | Sequence[str] | None = None
    scorers: str | Sequence[str] | None = None
    calibrate: bool = False
    keep_models: bool = False
    no_oracle: bool = False
    resources: Mapping[str, Any] = field(default_factory=dict)


def choose_recipe(source: Path | Mapping[str, Any] | None, choices: Choices) -> Recipe:
    """Return the recipe that a run is to carry out.

    Parameters
    ----------
    source
        Path of a recipe's file, the name of one that is installed, or its content; None for a run of data alone.
    choices
        What is chosen otherwise.

    Raises
    ------
    RecipeError
        If the recipe or a choice cannot be carried out, with what was expected.
    """
    if source is None:
        recipe = quick_recipe(
            choices.data, tasks=choices.tasks, split=choices.split, params=choices.params,
            own_params=choices.own_params,
        )  # fmt: skip
    else:
        if choices.params:
            name = next(iter(choices.params))
            raise RecipeError(f"a recipe says how its data are read: put {name} under params of the dataset")
        recipe = open_recipe(source, demo=choices.demo)
    return _with_choices(recipe, choices)


def open_recipe(source: Path | Mapping[str, Any], *, demo: bool = False) -> Recipe:
    """Return the recipe of a file, or of the content of one; `demo`: with the demo data instead of its own.

    Raises
    ------
    RecipeError
        If it cannot be read or asks for nothing.
    """
    if isinstance(source, Mapping):
        recipe = make_recipe(source)
        check_not_empty(recipe, "the recipe")
    else:
        recipe = read_recipe(recipe_file(source), must_exist=not demo)
        check_not_empty(recipe, str(source))
    return demo_recipe(recipe) if demo else recipe


def recipe_file(recipe: Path) -> Path:
    """Return the file of a recipe: the user's own, or else a plugin's recipe of this name.

    Raises
    ------
    RecipeError
        If there is neither, with what may have been meant.
    """
    from pertharness.host.plugins.registry import open_registry
    from pertharness.host.reproduce.benchmarks import find_recipe, is_name

    return find_recipe(open_registry(), str(recipe)) if is_name(recipe) else recipe


def run_name(recipe: Recipe) -> str:
    """Return the name of a run's folder: that of the recipe, or of its data."""
    return str(recipe.name or "-".join(recipe.datasets)[:80])


def _with_choices(recipe: Recipe, choices: Choices) -> Recipe:
    """Return a recipe with the caller's choices."""
    chosen: dict[str, Any] = {
        "name": choices.name,
        "seeds": parse_seeds(choices.seeds) if isinstance(choices.seeds, str) else choices.seeds,
        "models": _specs(choices.models),
        "scorers": _specs(choices.scorers),
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    data = recipe.model_dump(exclude_none=True)
    if choices.calibrate:
        data["comparison"]["calibrate"] = True
    if choices.keep_models:
        data["keep_models"] = True
    if choices.no_oracle:
        data["oracle"] = False
    if "models" in chosen:  # models that are not chosen this time cannot narrow the comparison of the others
        absent = {spec.text() for spec in recipe.models or ()} - {spec.text() for spec in chosen["models"]}
        for task in data["tasks"]:
            task["common_set"] = tuple(name for name in task["common_set"] if name not in absent)
    return make_recipe({**data, **chosen, "resources": {**data["resources"], **choices.resources}})


def _specs(models: str | Sequence[str] | None) -> tuple[ModelSpec, ...] | None:
    """Return the requested models or scorers."""
    if models is None:
        return None
    return tuple(parse_models(models) if isinstance(models, str) else map(parse_model, models))
