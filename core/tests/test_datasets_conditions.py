"""Doses, times, treatments, CRISPRa beside CRISPRi and batches: never pooled without a word."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import ChoiceError, DataError
from pertharness.datasets.conditions import choose_conditions
from pertharness.datasets.labelling import find_labelling
from pertharness.datasets.options import FileOptions

GENES = {"KLF1", "SPI1", "AHR"}
LABELS = ["NTC"] * 4 + ["KLF1"] * 4 + ["SPI1"] * 4


def choose(columns: dict[str, list[object]], **options: object) -> tuple[list[int], list[str]]:
    """Return the rows that are taken, and the notes."""
    obs = pd.DataFrame({"perturbation": LABELS, **columns}, index=[f"c{i}" for i in range(len(LABELS))])
    given = FileOptions(**options)  # type: ignore[arg-type]
    labelling = find_labelling(obs, GENES, given)
    notes: list[str] = []
    return list(choose_conditions(obs, np.arange(len(obs)), labelling, given, notes)), notes


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("dose_value", [10.0, 100.0], "doses"),
        ("drugConc", ["1 uM", "10 uM"], "doses"),
        ("time", [24, 72], "times"),
        ("time_point", ["24h", "72h"], "times"),
        ("stimulation", ["none", "IL2"], "treatments"),
        ("perturbation_type", ["CRISPRi", "CRISPRa"], "modalities"),
        ("what_was_used", ["CRISPR-KO", "CRISPR interference (knock-down)"], "modalities"),
        ("arm", ["Knock-out", "CRISPRi"], "modalities"),
        ("vector", ["dCas9-KRAB", "dCas9-VPR"], "modalities"),
        ("perturbation_2", ["none", "IFNg"], "treatments"),
        ("condition", ["Rest", "Stim8hr"], "treatments"),
        ("culture_condition", ["alone", "coculture"], "treatments"),
        ("drug", ["none", "JQ1"], "treatments"),
        ("Cell Line", ["K562", "RPE1"], "contexts"),
    ],
)
def test_several_conditions_of_a_perturbation_are_asked_for(column: str, values: list[object], kind: str) -> None:
    columns = {column: values * 6}
    with pytest.raises(
        ChoiceError, match=f"the control and 2 perturbations have rows of several {kind} in obs"
    ) as error:
        choose(columns)
    assert f"--pool {shlex.quote(column)}" in str(error.value)
    assert f"--only {column}=" in str(error.value) or f"--only '{column}=" in str(error.value)
    rows, notes = choose(columns, pool=(column,))
    assert rows == list(range(12))
    assert notes[0].startswith(f"pooled: {kind} of obs[{column!r}]")
    rows, notes = choose(columns, only={column: str(values[1])})
    assert rows == list(range(1, 12, 2))
    (note,) = notes
    assert note.startswith(f"left out: 6 rows that have other values than {str(values[1])!r} in obs")


def test_one_condition_of_each_perturbation_is_said() -> None:
    doses = [0] * 4 + [10] * 4 + [100] * 4
    assert choose({"dose": doses}) == (
        list(range(12)),
        ["doses: '0', '10', '100' in obs['dose'], one for each perturbation"],
    )
    kinds = [None] * 4 + ["CRISPRa"] * 4 + ["CRISPRi"] * 4
    assert "expected direction" in choose({"used": kinds})[1][0]


def test_what_only_controls_lack_is_no_condition() -> None:
    assert (
        choose({"dose": [0.0] * 4 + [10.0] * 8, "time": [24] * 12, "kind": ["control"] * 4 + ["CRISPRi"] * 8})[1] == []
    )


def test_measurements_and_units_are_no_conditions() -> None:
    columns: dict[str, list[object]] = {"dose_unit": ["uM", "nM"] * 6, "latent_time": [*range(12)]}
    assert choose(columns)[1] == []


def test_other_spellings_of_the_perturbations_are_no_conditions() -> None:
    guides = [f"{label}_{i % 2}" for i, label in enumerate(LABELS)]
    rows, notes = choose({"condition": guides, "drug": LABELS}, label_column="perturbation")
    assert (len(rows), notes) == (12, [])


@pytest.mark.parametrize("dtype", ["float32", "float64", "category"])
def test_a_number_is_known_as_it_is_written(dtype: str) -> None:
    values = pd.Series([0.1, 1.0] * 6).astype(dtype)
    for text, first in (("0.1", 0), ("1", 1), ("1.0", 1)):
        assert choose({"dose": values.array}, only={"dose": text})[0] == list(range(first, 12, 2))  # type: ignore[dict-item]


def test_conditions_of_controls_alone_are_asked_for() -> None:
    with pytest.raises(ChoiceError, match="the control has rows"):
        choose({"hours": [0, 24, 0, 24] + [24] * 8})
    assert choose({"hours": [0, 24, 0, 24] + [24] * 8}, only={"hours": "24"})[0] == [1, 3, *range(4, 12)]


def test_all_controls_are_taken_where_none_has_the_dose() -> None:
    rows, notes = choose({"dose": [np.nan] * 4 + [10.0, 100.0] * 4}, only={"dose": "10"})
    assert rows == [0, 1, 2, 3, 4, 6, 8, 10]
    assert notes[0] == "controls: none has '10' in obs['dose']; all 4 are taken"
    with pytest.raises(DataError, match="no control has 'IL2' in obs\\['stim'\\] \\(--only\\); controls have 'none'"):
        choose({"stim": ["none"] * 4 + ["IL2", "none"] * 4}, only={"stim": "IL2"})


def test_batches_are_pooled_and_named() -> None:
    spread: list[object] = [1, 2, 3] * 4
    assert choose({"batch": spread})[1] == ["batches: 3 values of obs['batch'] ('1', '2', '3') are pooled"]
    (note,) = choose({"gem_group": ["a"] * 4 + ["b"] * 4 + ["c"] * 4})[1]
    assert "2 of them without control cells ('b', 'c')" in note
    assert "each perturbation is in one of them only" in note
    assert choose({"batch": spread}, only={"batch": ("1", "3")})[0] == [0, 2, 3, 5, 6, 8, 9, 11]


def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(DataError, match=r"no column 'doze' \(--only\); it has 'perturbation', 'dose'"):
        choose({"dose": [1] * 12}, only={"doze": "1"})
    with pytest.raises(DataError, match=r"no column 'doze' \(--pool\)"):
        choose({"dose": [1] * 12}, pool=("doze",))
    with pytest.raises(DataError, match=r"has no '2' \(--only dose=2\); it has '1'"):
        choose({"dose": [1] * 12}, only={"dose": "2"})


def test_contexts_that_are_left_after_the_choice_of_one_are_asked_for() -> None:
    columns: dict[str, list[object]] = {"cell_type": ["x", "y"] * 6}
    with pytest.raises(ChoiceError, match="several contexts in obs\\['cell_type'\\]"):
        choose(columns, context_column="cell_line")
    (note,) = choose({"cell_type": ["x"] * 4 + ["x", "y"] * 4}, context_column="none")[1]
    assert note == (
        "pooled: contexts of obs['cell_type'] ('x', 'y'): 2 perturbations have rows of several; "
        "1 of them without control cells ('y')"
    )
