"""Replace the data of a recipe by the embedded demo: the same tasks, models and scorers without a download."""

from __future__ import annotations

from typing import Any

from pertharness.contract.errors import RecipeError
from pertharness.host.recipe.models import Recipe
from pertharness.host.recipe.read import make_recipe
from pertharness.host.splits import KINDS


def demo_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with the demo in place of every dataset, and with ``-demo`` added to its name.

    Datasets keep their names. Each becomes a replicate of its own, with other cells of the same perturbations, so that
    models can transfer between them. A dataset that no task splits by doubles gets no doubles.

    Raises
    ------
    RecipeError
        If the recipe names a split file or predictions, which belong to its own data.
    """
    files = [f"the split {str(task.split.file)!r}" for task in recipe.tasks if task.split.file is not None]
    files += [f"the predictions {entry.name!r}" for entry in recipe.predictions]
    if files:
        raise RecipeError(f"--demo: {files[0]} cannot be used with the demo data; leave it out of the recipe")
    datasets = {name: _demo(recipe, name, number) for number, name in enumerate(recipe.datasets)}
    named = {"name": f"{recipe.name or 'recipe'}-demo", "datasets": datasets}
    return make_recipe({**recipe.model_dump(exclude_none=True), **named})


def _demo(recipe: Recipe, name: str, number: int) -> dict[str, Any]:
    """Return the choice of the demo that replaces one dataset."""
    kinds = {task.split.kind for task in recipe.tasks if task.dataset in (None, name)}
    singles = kinds and not any(KINDS[kind].task == "double" for kind in kinds)
    return {"offer": "demo", "params": {"replicate": number, **({"n_doubles": 0} if singles else {})}}
