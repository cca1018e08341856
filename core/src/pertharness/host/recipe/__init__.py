"""Recipes: TOML files that describe a run."""

from __future__ import annotations

from pertharness.host.recipe.demo import demo_recipe
from pertharness.host.recipe.models import (
    ComparisonChoice,
    DatasetChoice,
    EnvironmentChoice,
    PredictionChoice,
    Recipe,
    Resources,
    SplitChoice,
    TaskChoice,
)
from pertharness.host.recipe.read import (
    check_not_empty,
    make_recipe,
    parse_recipe,
    read_recipe,
    recipe_text,
    write_recipe,
)
from pertharness.host.recipe.value_types import EmbeddingSpec, ModelSpec, parse_model, parse_models, parse_seeds

__all__ = [
    "ComparisonChoice", "DatasetChoice", "EmbeddingSpec", "EnvironmentChoice", "ModelSpec", "PredictionChoice",
    "Recipe", "Resources", "SplitChoice", "TaskChoice", "check_not_empty", "demo_recipe", "make_recipe", "parse_model",
    "parse_models", "parse_recipe", "parse_seeds", "read_recipe", "recipe_text", "write_recipe",
]  # fmt: skip
