"""The environments that a recipe needs: which to build before a run, and the problems of building them."""

from __future__ import annotations

from pertharness.contract.errors import BuildError
from pertharness.host.environments.build import Say, build
from pertharness.host.environments.folder import Folder, fitness
from pertharness.host.environments.interpreter import plugin_of
from pertharness.host.execution.executor import Executor
from pertharness.host.packages.installed import Plugin, Problem
from pertharness.host.plugins.registry import Registry, look_up
from pertharness.host.recipe import Recipe


def named_interpreters(recipe: Recipe) -> tuple[dict[str, Plugin], list[Problem]]:
    """Return the plugins whose interpreter the recipe names, and the problems of those that cannot be used."""
    plugins, problems = {}, []
    for name, choice in recipe.environments.items():
        if choice.python is not None:
            try:
                plugins[name] = plugin_of(choice.python, name)
            except BuildError as error:
                problems.append(Problem(name, "failed", str(error)))
    return plugins, problems


def build_wanted(recipe: Recipe, folder: Folder, say: Say, executor: Executor | None = None) -> list[Problem]:
    """Build the environments that the recipe names, and rebuild those in use that are broken or outdated.

    They are built for the hardware of the executor. A failure is reported, and the others are built.
    """
    sources = {name: choice.plugin for name, choice in recipe.environments.items() if choice.plugin is not None}
    sources |= {name: name for name in outdated(folder) if name not in recipe.environments}
    attempts = (try_build(name, source, folder, say, executor) for name, source in sources.items())
    return [problem for problem in attempts if problem]


def try_build(
    name: str, source: str, folder: Folder, say: Say, executor: Executor | None = None, *, guessed: bool = False
) -> Problem | None:
    """Build the environment of a plugin as it was built before; return the problem, None if there is none.

    `guessed`: there need be no plugin of that name; why there is none is shown at the end of the run, and only there.
    """
    try:
        built = build(source, folder, before=folder.last(name), say=say, executor=executor)
    except BuildError as error:
        say(f"{name}: NOT BUILT" if guessed else f"{name}: NOT BUILT: {error}")
        return Problem(name, "failed", f"its environment could not be built: {error}")
    if built.name != name:
        return Problem(name, "failed", f"{source!r} is the plugin {built.name!r}; name it so under [environments]")
    return None


def missing_plugins(recipe: Recipe, registry: Registry) -> list[str]:
    """Return the plugins to look for if no plugin offers a model of the recipe: the prefix of its name, or the name."""
    names = {*registry.plugins, *(problem.plugin for problem in registry.problems)}
    absent = [spec for spec in recipe.models or () if look_up(registry.models, spec.full_name) is None]
    return [name for name in dict.fromkeys(spec.plugin or spec.name for spec in absent) if name not in names]


def outdated(folder: Folder) -> list[str]:
    """Return the plugins whose environment in use must be rebuilt before it can be used."""
    current = folder.all_current()
    return [name for name, built in current if built is None or fitness(folder, built)[0] != "ok"]


def rebuild(folder: Folder, say: Say) -> list[Problem]:
    """Rebuild all environments that are broken or outdated."""
    return [problem for name in outdated(folder) if (problem := try_build(name, name, folder, say))]
