"""A plugin manager that looks for hooks among what was marked as one, not among all that a module holds."""

from __future__ import annotations

import inspect
from typing import Any

import pluggy


class QuickManager(pluggy.PluginManager):
    """A manager that leaves out at once what has no mark of ``hookimpl``: pluggy's own look at a name is slow.

    pluggy 1.7 takes milliseconds for a module of a hundred names, and a cheap job has not many.
    """

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Return how a name of a plugin is marked as a hook; None where it is not."""
        value = vars(plugin).get(name, getattr(type(plugin), name, None))
        if not inspect.isroutine(value) or not hasattr(value, f"{self.project_name}_impl"):
            return None
        return super().parse_hookimpl_opts(plugin, name)
