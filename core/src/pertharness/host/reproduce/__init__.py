"""Published benchmarks, run again: recipes and published numbers that plugins bring, beside what is measured."""

from __future__ import annotations
