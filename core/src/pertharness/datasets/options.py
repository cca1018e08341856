"""The parameters of the datasets, checked; each is a flag of the command line: ``label_column``, ``--label-column``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pertharness.contract.errors import DataError
from pertharness.data.label_map import check_label_map, read_label_map

NONE = "none"
"""Says of a separator or a context column that there is none, where None means: find it."""


class FileOptions(BaseModel):
    """How to read a user's h5ad; None: found in the file, if there is no doubt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_column: str | None = None
    control_label: str | tuple[str, ...] | None = None
    """One label or pattern, or several."""
    label_map: dict[str, str] | None = None
    """Label -> targets, ``control`` or ``drop``; a path is read."""
    guides: Literal["together", "separate", "none"] | None = None
    target_column: str | None = None
    """Column of ``var`` that has the names which the labels use."""
    separator: str | None = None
    context_column: str | None = None
    context: str | None = None
    only: dict[str, tuple[str, ...]] | None = None
    """Column of ``obs`` -> the values whose rows are taken."""
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
        """Read the file of a label map, and bring a table into form."""
        try:
            if isinstance(value, str | Path):
                return read_label_map(Path(value))
            return check_label_map(value) if isinstance(value, Mapping) else value
        except DataError as error:
            raise ValueError(str(error)) from error

    @field_validator("only", mode="before")
    @classmethod
    def _read_only(cls, value: Any) -> Any:
        """Take a single value for a tuple of it, and numbers for their texts."""
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
    """Return the parameters as a model.

    Raises
    ------
    DataError
        If one is unknown or has a value that it cannot have.
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
        reason = first["msg"].removeprefix("Value error, ")  # what pydantic puts before ours
        raise DataError(f"dataset {dataset!r}: {name} ({flag}) is {first['input']!r}: {reason}") from error
