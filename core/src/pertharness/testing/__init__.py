"""The conformance kit for authors of plugins: ``conformance``, planted data with fixtures, and functions to call hooks.

The same checks serve ``pertharness check``; see docs/plugins/testing.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pertharness.testing.calls import call_embed as call_embed
    from pertharness.testing.calls import call_fit as call_fit
    from pertharness.testing.calls import call_predict as call_predict
    from pertharness.testing.calls import call_score as call_score
    from pertharness.testing.planted import Posed as Posed
    from pertharness.testing.planted import planted_cells as planted_cells
    from pertharness.testing.planted import planted_means as planted_means
    from pertharness.testing.planted import pose as pose
    from pertharness.testing.pytest_kit import conformance as conformance

# Imported lazily: pytest is available only in tests, and a worker needs none of these.
_HOME = {
    "Posed": "planted", "planted_cells": "planted", "planted_means": "planted", "pose": "planted",
    "conformance": "pytest_kit", "call_embed": "calls", "call_fit": "calls", "call_predict": "calls",
    "call_score": "calls",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'pertharness.testing' has no attribute {name!r}")
    return getattr(import_module(f"pertharness.testing.{_HOME[name]}"), name)
