"""Parameters of the built-in datasets; each is also a command-line flag: ``label_column``, ``--label-column``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pertharness.contract.errors import DataError
from pertharness.data.label_map import check_label_map, read_label_map

NONE = "none"
"""Value for "there is none", e.g. of a separator or a context column; None means that it is detected."""


class FileOptions(BaseModel):
    """Options for a user's h5ad; None means that the value is detected, if it is unambiguous."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_column: str | None = None
    control_label: str | tuple[str, ...] | None = None
    """One label or pattern, or several."""
    label_map: dict[str, str] | None = None
    """Label -> targets, ``control`` or ``drop``; may be given as the path of a file."""
    guides: Literal["together", "separate", "none"] | None = None
    target_column: str | None = None
    """Column of ``var`` with the names that the labels use."""
    separator: str | None = None
    context_column: str | None = None
    context: str | None = None
    only: dict[str, tuple[str, ...]] | None = None
    """Column of ``obs`` -> values of the rows to use."""
    pool: tuple[str, ...] | None = None
    """Columns of ``obs`` whose values are pooled: doses, times, treatments, modalities."""
    level: Literal["cells", "pseudobulk"] | None = None
    scale: Literal["log1p", "counts"] | None = None
    normalise: bool = False
    rescale: bool = False
    gene_column: str | None = None
    ensembl_column: str | None = None
    modality: Literal["crispra", "crispri", "ko"] | None = None
    merge_labels: bool = False
    layer: str | None = None
    modality_key: str | None = None

    @field_validator("label_map", mode="before")
    @classmethod
    def _read_label_map(cls, value: Any) -> Any:
        """Read the file of a label map, or normalise a mapping."""
        try:
            if isinstance(value, str | Path):
                return read_label_map(Path(value))
            return check_label_map(value) if isinstance(value, Mapping) else value
        except DataError as error:
            raise ValueError(str(error)) from error

    @field_validator("only", mode="before")
    @classmethod
    def _read_only(cls, value: Any) -> Any:
        """Convert a single value to a tuple, and numbers to texts."""
        if not isinstance(value, Mapping):
            return value
        return {
            column: tuple(map(str, values)) if isinstance(values, list | tuple) else (str(values),)
            for column, values in value.items()
        }


class DemoOptions(BaseModel):
    """Seed and size of the demo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=1, ge=0, description="what effects and cells are drawn from")
    replicate: int = Field(default=0, ge=0, description="other cells of the same perturbations, as a second experiment")
    n_genes: int = Field(default=1500, ge=50, description="genes that are measured")
    n_singles: int = Field(default=60, ge=2, description="perturbations of one gene")
    n_doubles: int = Field(default=60, ge=0, description="perturbations of two genes")
    n_controls: int = Field(default=300, ge=1, description="control cells")
    n_cells: int = Field(default=40, ge=1, description="cells of each perturbation, on average")


Options = TypeVar("Options", FileOptions, DemoOptions)


def check_options(model: type[Options], dataset: str, params: Mapping[str, Any]) -> Options:
    """Return checked parameters as a model.

    Raises
    ------
    DataError
        If a parameter is unknown or has an invalid value.
    """
    try:
        return model(**params)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name not in model.model_fields:
            names = ", ".join(model.model_fields)
            raise DataError(f"dataset {dataset!r} has no parameter {name!r}; it has {names}") from error
        flag = f"--{name.replace('_', '-')}"
        reason = first["msg"].removeprefix("Value error, ")  # prefix added by pydantic
        raise DataError(f"dataset {dataset!r}: {name} ({flag}) is {first['input']!r}: {reason}") from error
