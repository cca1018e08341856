"""Reproduce published benchmarks: plugins offer their recipes and published numbers."""

from __future__ import annotations
