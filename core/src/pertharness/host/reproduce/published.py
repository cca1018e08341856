"""Published numbers of an article or its authors, with their sources, from a CSV file of a plugin."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pertharness.contract.errors import RecipeError
from pertharness.contract.jobs import describe_invalid


class Number(BaseModel):
    """A published number, and how to measure it in a run.

    Attributes
    ----------
    recipe
        Short name of the recipe whose run it is measured from, a key of `RecipeOffer.recipes`.
    quantity, column
        Name of a quantity of `pertharness.host.reproduce.measure`, and what of a table it is of.
    tolerance
        Largest difference that does not matter: half a unit of the last published digit or, where that is more, what
        the rounding of means to float32 moves the number by; 0 for a count of perturbations.
    source
        Where it was published, in words; it begins with ``inferred`` if what it counts is not published with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

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


def read_numbers(path: Path) -> tuple[Number, ...]:
    """Read the published numbers of a benchmark: a CSV with a column for each field of `Number`.

    Raises
    ------
    RecipeError
        If the file is no such CSV; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"published numbers: {path} cannot be read: {error}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    numbers: list[Number] = []
    try:
        for row in rows:
            fields = {name: cell for name, cell in row.items() if cell != ""}  # an empty cell means the default
            numbers.append(Number.model_validate(fields))
    except (ValidationError, csv.Error, TypeError) as error:  # TypeError: more cells than columns
        words = describe_invalid(error) if isinstance(error, ValidationError) else str(error)
        raise RecipeError(
            f"published numbers: {path}, line {rows.line_num}: {words}; expected the columns "
            f"{', '.join(Number.model_fields)}"
        ) from None
    return tuple(numbers)
