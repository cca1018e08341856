"""The name that the harness has among plugins, and the version of the hooks."""

from __future__ import annotations

PROJECT = "pertharness"
"""pluggy's project name, and the group of the entry points of plugins."""
PROTOCOL = 1
"""Version of the hooks; a card names the one that its plugin was written for."""
