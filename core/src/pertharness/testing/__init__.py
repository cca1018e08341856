"""The conformance kit, for authors of plugins: ``conformance``, the planted data, and fixtures of these.

The same checks serve ``pertharness check``; see docs/plugins/testing.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pertharness.testing.planted import Posed as Posed
    from pertharness.testing.planted import planted_cells as planted_cells
    from pertharness.testing.planted import planted_means as planted_means
    from pertharness.testing.planted import pose as pose
    from pertharness.testing.pytest_kit import conformance as conformance

# Loaded when first asked for: pytest is there in tests only, and a worker needs none of it.
_HOME = {
    "Posed": "planted", "planted_cells": "planted", "planted_means": "planted", "pose": "planted",
    "conformance": "pytest_kit",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'pertharness.testing' has no attribute {name!r}")
    return getattr(import_module(f"pertharness.testing.{_HOME[name]}"), name)
