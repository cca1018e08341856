"""The plugins that are installed beside the harness. None is imported here."""

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
from pertharness.host.packages.fingerprint import environment_hash, plugin_hash, required_versions, sources_of
from pertharness.host.packages.sources import Sources


@dataclass(frozen=True)
class Plugin:
    """A plugin, the interpreter that runs it, and the hashes of its files and of what it runs on.

    Attributes
    ----------
    place
        Folder of its environment; empty if it is installed beside the harness.
    python_version, packages
        What it runs on: normalised name -> version.
    sources
        Its files, where somebody may edit them while a run goes on.
    """

    ref: PluginRef
    python: Path
    source: str
    environment: str
    place: str = ""
    python_version: str = ""
    packages: Mapping[str, str] = field(default_factory=dict, compare=False)
    sources: Sources | None = field(default=None, compare=False)

    def in_keys(self) -> dict[str, str]:
        """Return what enters the keys of its jobs.

        Of a plugin that is part of the core neither version nor source: what these mean for a job, the number of the
        job's stage says (`pertharness.contract.stages.STAGE_VERSIONS`), so that a release alters no record.
        """
        if self.ref.module.partition(".")[0] == PROJECT:
            return {"name": self.ref.name, "environment": self.environment}
        return self.identity()

    def identity(self) -> dict[str, str]:
        """Return what tells it from every other plugin, and from itself after a change."""
        return {
            "name": self.ref.name,
            "version": self.ref.version,
            "source": self.source,
            "environment": self.environment,
        }


@dataclass(frozen=True)
class Problem:
    """A plugin that cannot be used, and why."""

    plugin: str
    state: State
    message: str


def find_installed() -> tuple[dict[str, Plugin], list[Problem]]:
    """Return the installed plugins by name, and those that cannot be used, such as two of one name."""
    points = sorted(entry_points(group=PROJECT), key=lambda point: (point.name, point.value))
    distinct = list({(point.name, point.value, _distribution_name(point)): point for point in points}.values())
    count = Counter(point.name for point in distinct)
    plugins: dict[str, Plugin] = {}
    problems = []
    known: dict[str, tuple[str, list[str]]] = {}
    for name in sorted(count):
        mine = [point for point in distinct if point.name == name]
        if len(mine) > 1:
            owners = " and ".join(f"{_distribution_name(point)} ({point.value})" for point in mine)
            problems.append(
                Problem(name, "invalid", f"two plugins are called {name!r}: {owners}; uninstall one of them")
            )
            continue
        try:
            plugins[name] = _plugin(mine[0], known)
        except PertharnessError as error:
            problems.append(Problem(name, "failed", str(error)))
    return plugins, problems


def _plugin(point: EntryPoint, known: dict[str, tuple[str, list[str]]]) -> Plugin:
    """Return an installed plugin; `known` keeps the metadata that was read."""
    if point.dist is None:
        raise PertharnessError(f"the plugin {point.name!r} belongs to no distribution; install it with pip")
    ref = PluginRef(name=point.name, module=point.value, version=point.dist.version)
    versions = required_versions(point.dist, known)
    sources = sources_of(point.value, point.dist)  # before the hash, so that an edit in between is noticed
    return Plugin(
        ref, Path(sys.executable), plugin_hash(point.value, point.dist), environment_hash(versions),
        python_version=platform.python_version(), packages=versions, sources=sources,
    )  # fmt: skip


def _distribution_name(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "no distribution"
