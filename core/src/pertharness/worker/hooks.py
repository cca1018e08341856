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


def load_plugin(job: Job) -> pluggy.PluginManager:
    """Import the job's plugin and compare its hooks and their arguments with the specs.

    Raises
    ------
    ContractError
        If the plugin has a hook, or an argument of one, that the specs do not know.
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


def implemented(hooks: Any, hook: str, job: Job) -> pluggy.HookCaller:
    """Return one hook of a plugin.

    Raises
    ------
    ContractError
        If the plugin does not have it.
    """
    caller: pluggy.HookCaller = getattr(hooks, hook)
    if not any(not implementation.wrapper for implementation in caller.get_hookimpls()):
        raise ContractError(
            f"plugin {job.plugin.name!r} offers {job.name!r} but has no hook {hook!r}; "
            f"define the function and mark it with @pertharness.hookimpl"
        )
    return caller
