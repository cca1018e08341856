"""The recipes and published numbers on the cards of plugins, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pertharness.contract.cards import RecipeOffer
from pertharness.contract.errors import RecipeError
from pertharness.host.packages.resources import find_resource
from pertharness.host.reproduce.measure import QUANTITIES
from pertharness.host.reproduce.published import Number, read_numbers
from pertharness.host.text.did_you_mean import expected

if TYPE_CHECKING:
    from pertharness.host.plugins.registry import Registry


@dataclass(frozen=True)
class Benchmark:
    """A published benchmark: its offer, the files of its recipes by short name, and its numbers."""

    offer: RecipeOffer
    recipes: dict[str, Path]
    numbers: tuple[Number, ...] = ()


def find_benchmark(registry: Registry, name: str) -> Benchmark:
    """Return the benchmark that an installed plugin offers under a name.

    Raises
    ------
    RecipeError
        If no plugin offers it, or its numbers name a recipe or a quantity that there is not.
    """
    offered = registry.recipes.get(name)
    if offered is None:
        hint = expected(name, registry.recipes) if registry.recipes else "no installed plugin offers one"
        raise RecipeError(f"there is no benchmark {name!r} to reproduce; {hint}")
    recipes = {short: find_resource(offered.plugin, file) for short, file in offered.offer.recipes.items()}
    if not offered.offer.numbers:
        return Benchmark(offered.offer, recipes)
    path = find_resource(offered.plugin, offered.offer.numbers)
    numbers = read_numbers(path)
    for number in numbers:
        for field, value, values in (("recipe", number.recipe, recipes), ("quantity", number.quantity, QUANTITIES)):
            if value not in values:
                raise RecipeError(
                    f"published numbers: {path}: {number.id!r} has the {field} {value!r}; {expected(value, values)}"
                )
    return Benchmark(offered.offer, recipes, numbers)


def find_recipe(registry: Registry, name: str) -> Path:
    """Return the file of an installed plugin's recipe, by the name of the file without its suffix.

    Raises
    ------
    RecipeError
        If none has that name, or several have.
    """
    files = [(offered.plugin, file) for offered in registry.recipes.values() for file in offered.offer.recipes.values()]
    meant = [(plugin, file) for plugin, file in files if Path(file).stem == name]
    if not meant:
        raise RecipeError(
            f"there is no recipe {name!r}, neither a file nor one that a plugin brings; "
            f"{expected(name, [Path(file).stem for _, file in files])}, or a TOML file"
        )
    paths = [find_resource(plugin, file) for plugin, file in meant]
    if len(paths) > 1:
        raise RecipeError(f"two plugins bring a recipe {name!r}; name its file: {' or '.join(map(str, paths))}")
    return paths[0]


def is_name(recipe: Path) -> bool:
    """Return whether this is the name of a plugin's recipe and not a file; files take precedence."""
    return recipe.name == str(recipe) and not recipe.exists() and recipe.suffix != ".toml"
