"""The hooks of a job's plugin: imported, compared with the specs, and wrapped by Meter and Guard."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pertharness.contract import hookspecs
from pertharness.contract.errors import ContractError
from pertharness.contract.protocol import PROJECT

if TYPE_CHECKING:
    import pluggy

    from pertharness.contract.jobs import Job, Phase


SAVING = ("save_model", "load_model")
"""Hooks that a plugin has both of, or neither."""


def load_plugin(job: Job) -> pluggy.PluginManager:
    """Import the job's plugin and compare its hooks and their arguments with the specs.

    Raises
    ------
    ContractError
        If the plugin has a hook, or an argument of one, that the specs do not know; or only one of the hooks that save
        and restore a model.
    """
    import pluggy

    from pertharness.worker.hook_search import QuickManager

    manager = QuickManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    plugin = importlib.import_module(job.plugin.module)
    try:
        manager.register(plugin, name=job.plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ContractError(
            f"plugin {job.plugin.name!r}: {error}; see pertharness.contract.hookspecs for hooks and arguments"
        ) from None
    _check_pair(manager.hook, job)
    return manager


def guarded_hooks(job: Job, phases: list[Phase], known_digests: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Return the hooks of the job's plugin, inside Meter and Guard.

    Parameters
    ----------
    job
        Names the plugin.
    phases
        What the hooks cost is appended here.
    known_digests
        Digests of arguments by name that were computed before: Guard does not compute them again.
    """
    from pertharness.worker.guard import Guard
    from pertharness.worker.meter import Meter

    manager = load_plugin(job)
    manager.register(Meter(phases))
    manager.register(Guard(job, known_digests))
    return manager.hook


def can_save(hooks: Any) -> bool:
    """Return whether a plugin can write its models to files and restore them, which is optional."""
    return all(_is_implemented(getattr(hooks, hook)) for hook in SAVING)


def _check_pair(hooks: Any, job: Job) -> None:
    """Raise an error for a plugin that has only one of the hooks that save and restore a model."""
    present = [hook for hook in SAVING if _is_implemented(getattr(hooks, hook))]
    if len(present) == 1:
        missing = next(hook for hook in SAVING if hook not in present)
        raise ContractError(
            f"plugin {job.plugin.name!r} has the hook {present[0]!r} but not {missing!r}; define both, or neither"
        )


def _is_implemented(caller: pluggy.HookCaller) -> bool:
    """Return whether a plugin has a hook; wrappers of the harness do not count."""
    return any(not implementation.wrapper for implementation in caller.get_hookimpls())


def implemented(hooks: Any, hook: str, job: Job) -> pluggy.HookCaller:
    """Return one hook of a plugin.

    Raises
    ------
    ContractError
        If the plugin does not have it.
    """
    caller: pluggy.HookCaller = getattr(hooks, hook)
    if not _is_implemented(caller):
        raise ContractError(
            f"plugin {job.plugin.name!r} offers {job.name!r} but has no hook {hook!r}; "
            f"define the function and mark it with @pertharness.hookimpl"
        )
    return caller
