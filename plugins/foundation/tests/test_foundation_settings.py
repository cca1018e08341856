"""Quirks: the procedure decides, and a parameter overrides it for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from pertharness_foundation.settings import Strict, choose_quirks
from pydantic import ValidationError


class Procedure(Strict):
    procedure: Literal["paper", "corrected"] = "paper"
    rounding: Literal["truncate", "round"] | None = None
    share: float | None = None


@dataclass(frozen=True)
class Choices:
    rounding: str
    share: float


PROCEDURES = {"paper": Choices("truncate", 0.5), "corrected": Choices("round", 1.0)}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, Choices("truncate", 0.5)),
        ({"procedure": "corrected"}, Choices("round", 1.0)),
        ({"procedure": "corrected", "rounding": "truncate"}, Choices("truncate", 1.0)),
        ({"share": 0.0}, Choices("truncate", 0.0)),
    ],
)
def test_a_parameter_overrides_the_procedure_for_its_quirk_alone(params, expected):
    assert choose_quirks(Procedure(**params), PROCEDURES) == expected


@pytest.mark.parametrize("params", [{"roundin": "round"}, {"share": float("nan")}, {"share": float("inf")}])
def test_unknown_names_and_values_that_are_no_numbers_are_refused(params):
    with pytest.raises(ValidationError):
        Procedure(**params)


def test_nothing_changes_a_group():
    with pytest.raises(ValidationError, match="frozen"):
        Procedure().rounding = "round"
