"""What the parameters of models have in common: strict groups, and procedures whose quirks can be chosen singly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Choices = TypeVar("Choices", bound=DataclassInstance)


class Strict(BaseModel):
    """A group of parameters: unknown names, NaN and infinite values are refused, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def choose_quirks(group: BaseModel, procedures: Mapping[str, Choices]) -> Choices:
    """Return how each quirk is done: as its parameter says, or where it says nothing, as the procedure does.

    Parameters
    ----------
    group
        Parameters ``procedure`` and one for each quirk, None where the procedure decides.
    procedures
        Name of a procedure -> a dataclass with a field for each quirk.
    """
    values = group.model_dump(exclude_none=True)
    return replace(procedures[values.pop("procedure")], **values)
