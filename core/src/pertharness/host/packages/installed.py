"""Find the plugins that are installed beside the harness, without importing them."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from pertharness.contract.errors import PertharnessError
from pertharness.contract.jobs import PluginRef, State
from pertharness.contract.protocol import PROJECT
from pertharness.host.packages.fingerprint import (
    environment_hash,
    local_libraries,
    plugin_hash,
    required_versions,
    sources_of,
)
from pertharness.host.packages.sources import Sources


@dataclass(frozen=True)
class Plugin:
    """A plugin, the interpreter that runs it, and the hashes of its files and of its environment.

    Attributes
    ----------
    folder
        Folder of its environment; empty if it is installed beside the harness.
    python_version, packages
        Version of Python; normalised name -> version of packages.
    sources
        Its files, if they may be edited during a run.
    """

    ref: PluginRef
    python: Path
    source: str
    environment: str
    folder: str = ""
    python_version: str = ""
    packages: Mapping[str, str] = field(default_factory=dict, compare=False)
    sources: Sources | None = field(default=None, compare=False)

    def in_keys(self) -> dict[str, str]:
        """Return the part of job keys that identifies the plugin.

        For a plugin of the core, it has neither version nor source. The stage number of a job replaces them
        (`pertharness.contract.stages.STAGE_VERSIONS`), so that a release does not alter records.
        """
        if self.ref.module.partition(".")[0] == PROJECT:
            return {"name": self.ref.name, "environment": self.environment}
        return self.identity()

    def identity(self) -> dict[str, str]:
        """Return the values that identify the plugin and its content."""
        return {
            "name": self.ref.name,
            "version": self.ref.version,
            "source": self.source,
            "environment": self.environment,
        }


@dataclass(frozen=True)
class Problem:
    """A plugin that cannot be used, with the reason."""

    plugin: str
    state: State
    message: str


def find_installed() -> tuple[dict[str, Plugin], list[Problem]]:
    """Return the installed plugins by name, and the problems of unusable ones, such as two of one name."""
    points = sorted(entry_points(group=PROJECT), key=lambda point: (point.name, point.value))
    distinct = list({(point.name, point.value, _distribution_name(point)): point for point in points}.values())
    count = Counter(point.name for point in distinct)
    plugins: dict[str, Plugin] = {}
    problems = []
    seen: dict[str, tuple[str, list[str]]] = {}
    for name in sorted(count):
        mine = [point for point in distinct if point.name == name]
        if len(mine) > 1:
            owners = " and ".join(f"{_distribution_name(point)} ({point.value})" for point in mine)
            problems.append(
                Problem(name, "invalid", f"two plugins are called {name!r}: {owners}; uninstall one of them")
            )
            continue
        try:
            plugins[name] = _plugin(mine[0], seen)
        except PertharnessError as error:
            problems.append(Problem(name, "failed", str(error)))
    return plugins, problems


def _plugin(point: EntryPoint, names: dict[str, tuple[str, list[str]]]) -> Plugin:
    """Return an installed plugin; `names` keeps the metadata that was read."""
    if point.dist is None:
        raise PertharnessError(f"the plugin {point.name!r} belongs to no distribution; install it with pip")
    ref = PluginRef(name=point.name, module=point.value, version=point.dist.version)
    versions = required_versions(point.dist, names)
    libraries = local_libraries(point.dist)
    # Read before the hash, so that an edit in between is noticed.
    sources = sources_of(point.value, point.dist, libraries=libraries)
    source = plugin_hash(point.value, point.dist, libraries=libraries)
    return Plugin(
        ref, Path(sys.executable), source, environment_hash(versions),
        python_version=platform.python_version(), packages=versions, sources=sources,
    )  # fmt: skip


def _distribution_name(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "no distribution"
