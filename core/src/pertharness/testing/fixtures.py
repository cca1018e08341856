"""Pytest fixtures of planted data. To use them: ``pytest_plugins = ["pertharness.testing.fixtures"]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pertharness.testing import planted

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def planted_cells() -> AnnData:
    """Return the planted screen as cells."""
    return planted.planted_cells()


@pytest.fixture
def planted_means() -> AnnData:
    """Return the planted screen as one mean per perturbation."""
    return planted.planted_means()


@pytest.fixture(params=["double", "single"])
def planted_task(request: pytest.FixtureRequest) -> planted.Posed:
    """Return a task on planted means: one with held-out doubles, one with held-out singles."""
    return planted.pose(request.param, "pseudobulk")
