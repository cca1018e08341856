"""Published numbers: what an article or its authors' notebook states, with the source of each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pertharness.host.recipe.position import toml


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Number(_Part):
    """A published number, and how it is measured from a run.

    Attributes
    ----------
    recipe
        Short name of the recipe whose run it is measured from, a key of `Benchmark.recipes`.
    quantity, column
        Name of a quantity of `pertharness.host.reproduce.measure`, and what of a table it is of.
    tolerance
        Largest difference that rounding explains.
    """

    id: str
    recipe: str
    dataset: str
    figure: str
    quantity: str
    column: str = ""
    value: float
    unit: Literal["", "%"] = ""
    tolerance: float = 0.0
    source: str


class Benchmark(_Part):
    """A published benchmark: its recipes by short name, its numbers, and the names of its Source Data files."""

    title: str
    doi: str
    recipes: dict[str, str]
    source_data: tuple[str, ...] = ()
    numbers: tuple[Number, ...]


def read_benchmark(path: Path) -> Benchmark:
    """Read the published numbers of a benchmark."""
    return Benchmark.model_validate(toml.loads(path.read_text(encoding="utf-8")))
