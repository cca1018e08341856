"""Find a plugin in an interpreter that was set up by other means, without importing the plugin."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from pertharness.contract.errors import BuildError
from pertharness.contract.jobs import PluginRef
from pertharness.contract.protocol import PROJECT
from pertharness.host.environments.wheels import normal_name
from pertharness.host.execution.bytecode import compile_editable
from pertharness.host.execution.start import ask_interpreter
from pertharness.host.packages.fingerprint import (
    environment_hash,
    local_libraries,
    plugin_hash,
    sources_of,
    worker_hash,
)
from pertharness.host.packages.installed import Plugin
from pertharness.version import __version__

_ASK = """
import importlib.metadata as m, importlib.util as u, json, platform, sys
def places(name):
    spec = u.find_spec(name)
    return [] if spec is None else list(spec.submodule_search_locations or [spec.origin])
points = m.entry_points(group="pertharness")
mine = {p.name: p for p in points if p.dist}.get(sys.argv[1])
print(json.dumps({
    "python": platform.python_version(), "pertharness": places("pertharness"),
    "packages": {d.metadata["Name"]: d.version for d in reversed([*m.distributions()]) if d.metadata["Name"]},
    "plugin": mine and [mine.value, mine.dist.version, mine.dist.metadata["Name"], places(mine.value.split(".")[0]),
                        str(mine.dist.locate_file(""))],
}))
"""
"""The names of top-level modules have no dot, so that finding them imports nothing."""


def plugin_of(python: Path, name: str) -> Plugin:
    """Return the plugin of a name from an interpreter.

    Raises
    ------
    BuildError
        If the interpreter cannot be run, lacks the plugin, or has another version of the harness.
    """
    answer = _ask(python, name)
    if answer["plugin"] is None:
        raise BuildError(f"{str(python)!r} has no plugin {name!r}; install it there, with pertharness")
    worker = worker_hash(Path(answer["pertharness"][0])) if answer["pertharness"] else ""
    if worker != worker_hash():
        raise BuildError(
            f"{str(python)!r} has {'another version of' if worker else 'no'} pertharness; "
            f"install this one there, {__version__}, from the same sources"
        )
    module, version, distribution, places, packages_at = answer["plugin"]
    packages = {normal_name(key): value for key, value in sorted(answer["packages"].items())}
    others = {key: value for key, value in packages.items() if key not in (PROJECT, normal_name(distribution))}
    owner = next(iter(distributions(name=distribution, path=[packages_at])), None)
    parents = [Path(path).parent for path in places]
    libraries = local_libraries(owner, [packages_at])
    sources = sources_of(module, owner, parents, libraries)
    source = plugin_hash(module, owner, parents, libraries)
    compile_editable(python)
    ref = PluginRef(name=name, module=module, version=version)
    return Plugin(
        ref=ref, python=python, source=source, environment=environment_hash(others, answer["python"]),
        folder=str(python.parent.parent), python_version=answer["python"], packages=packages, sources=sources,
    )  # fmt: skip


def _ask(python: Path, name: str) -> dict[str, Any]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = ask_interpreter(python, ["-I", "-c", _ASK, name], variables, timeout_s=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"the interpreter {str(python)!r} cannot be run: {error}") from None
    if done.returncode:
        raise BuildError(f"{str(python)!r} cannot list its packages: {done.stderr.strip()[-300:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
