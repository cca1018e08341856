"""Find plugins in built environments, beside those that are installed with the harness."""

from __future__ import annotations

from pertharness.contract.jobs import PluginRef
from pertharness.contract.protocol import PROJECT
from pertharness.host.environments.folder import Environment, Folder, fitness
from pertharness.host.environments.wheels import normal_name
from pertharness.host.packages.fingerprint import environment_hash
from pertharness.host.packages.installed import Plugin, Problem


def find_environments(folder: Folder, *, every_file: bool = False) -> tuple[dict[str, Plugin], list[Problem]]:
    """Return the plugins of the environments in use, and the problems of unusable ones.

    `every_file` also finds damaged files: see `fitness`.
    """
    plugins, problems = {}, []
    for name, environment in folder.all_current():
        if environment is None:
            reason = f"{folder.root / name!s}.json cannot be read; build its environment again: pertharness env build"
            problems.append(Problem(name, "failed", f"{reason} {name}"))
            continue
        state, reason = fitness(folder, environment, every_file=every_file)
        if state == "ok":
            plugins[name] = _plugin(folder, environment)
        else:
            state_text = f"its environment {str(folder.path_of(environment))!r} is {state}: {reason}"
            problems.append(Problem(name, "failed", f"{state_text}; build it again: pertharness env build {name}"))
    return plugins, problems


def merge(installed: dict[str, Plugin], built: dict[str, Plugin]) -> tuple[dict[str, Plugin], list[Problem]]:
    """Merge installed plugins with those of environments; of two equal plugins, take the environment's.

    A name of two different plugins is ambiguous, so it becomes a problem.
    """
    plugins, problems = installed | built, []
    for name in sorted(installed.keys() & built.keys()):
        here, there = installed[name], built[name]
        if (here.ref.version, here.source) == (there.ref.version, there.source):
            continue
        del plugins[name]
        problems.append(
            Problem(
                name, "invalid",
                f"two plugins are called {name!r} and differ: {here.ref.version}, installed beside the harness "
                f"({here.python}), and {there.ref.version}, in an environment ({there.python}); uninstall the first, "
                f"or run: pertharness env build {name}, or: pertharness env remove {name}",
            )
        )  # fmt: skip
    return plugins, problems


def _plugin(folder: Folder, environment: Environment) -> Plugin:
    own = {PROJECT, normal_name(environment.distribution)}
    others = {name: version for name, version in environment.packages.items() if name not in own}
    return Plugin(
        ref=PluginRef(name=environment.name, module=environment.module, version=environment.version),
        python=folder.python(environment),
        source=environment.source,
        environment=environment_hash(others, environment.python),
        folder=str(folder.path_of(environment)),
        python_version=environment.python,
        packages=environment.packages,
    )
