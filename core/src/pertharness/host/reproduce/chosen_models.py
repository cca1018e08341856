"""Some of a published recipe's models in place of all, with other parameters where they are chosen with any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pertharness.contract.errors import RecipeError
from pertharness.host.recipe import EmbeddingSpec, ModelSpec, Recipe, make_recipe, parse_model, parse_models
from pertharness.host.text.did_you_mean import expected

CommonSets = Mapping[str, tuple[str, ...]]


def choose_models(recipes: Mapping[str, Recipe], models: str | None) -> dict[str, Recipe]:
    """Return recipes with the chosen ones of their models, and with the references of their tasks in any case.

    A choice such as ``scgpt[epochs=1]`` means all models of this name, which get its parameters in addition to their
    own; ``linear[G=embed:scgpt]`` means those with this embedding in this slot, and parameters of the embedding are
    added as well. Where several choices mean a model, the one with the most slots counts. A model that is left out or
    gets other parameters is no longer in a ``common_set``: what it answers is not what the published model answers.

    Parameters
    ----------
    recipes
        Recipes that name their models, by short name.
    models
        Models separated by commas, each of at least one of the recipes; None for all.

    Raises
    ------
    RecipeError
        If a choice means no model of any recipe, or has several values of a parameter.
    """
    if models is None:
        return dict(recipes)
    chosen = parse_models(models)
    known = list(dict.fromkeys(spec.text() for recipe in recipes.values() for spec in recipe.models or ()))
    for choice in chosen:
        name = choice.text()
        if choice.grid:
            raise RecipeError(f"--models {name}: expected one value of {next(iter(choice.grid))!r}")
        if not any(_is_meant(parse_model(text), choice) for text in known):
            where = "the benchmark" if len(recipes) > 1 else f"the recipe {next(iter(recipes))!r}"
            raise RecipeError(f"--models {name}: {where} has no such model; {expected(name, known)}")
    return {short: _with_models(recipe, chosen) for short, recipe in recipes.items()}


def _with_models(recipe: Recipe, chosen: Sequence[ModelSpec]) -> Recipe:
    """Return a recipe with the chosen ones of its models."""
    references = {task.reference for task in recipe.tasks}
    kept: dict[str, str] = {}
    for spec in recipe.models or ():
        name = spec.text()
        choices = [choice for choice in chosen if _is_meant(spec, choice)]
        if name in references:
            kept[name] = name  # what the others are compared with stays as it is
        elif choices:
            kept[name] = _changed(spec, max(choices, key=lambda choice: len(choice.slots))).text()
    data = recipe.model_dump(exclude_none=True)
    data["models"] = tuple(dict.fromkeys(kept.values()))
    for task in data["tasks"]:
        task["common_set"] = tuple(name for name in task["common_set"] if kept.get(name) == name)
    return make_recipe(data)


def common_sets_of(recipe: Recipe) -> CommonSets:
    """Return, by dataset, the models of the common set of a recipe's tasks."""
    return {task.dataset: task.common_set for task in reversed(recipe.tasks) if task.dataset}


def _is_meant(spec: ModelSpec, choice: ModelSpec) -> bool:
    """Return whether a choice means a model of the recipe: the same name, and the embeddings of its slots."""
    same_plugin = choice.plugin is None or choice.plugin == spec.plugin
    slots = [(spec.slots.get(slot), embedding) for slot, embedding in choice.slots.items()]
    return same_plugin and choice.name == spec.name and all(_is_embedding(mine, meant) for mine, meant in slots)


def _is_embedding(mine: EmbeddingSpec | None, meant: EmbeddingSpec) -> bool:
    """Return whether a slot of the recipe has an embedding, whatever its parameters."""
    return mine is not None and (mine.name, mine.argument) == (meant.name, meant.argument)


def _changed(spec: ModelSpec, choice: ModelSpec) -> ModelSpec:
    """Return a model with the parameters of a choice in addition to its own."""
    slots = {
        slot: replace(mine, params=mine.params | choice.slots[slot].params) if slot in choice.slots else mine
        for slot, mine in spec.slots.items()
    }
    return replace(spec, slots=slots, params=spec.params | choice.params)
