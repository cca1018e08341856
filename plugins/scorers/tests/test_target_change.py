"""What the perturbations did to their own targets."""

import numpy as np
import pandas as pd
from anndata import AnnData
from pertharness import CONTROL
from pertharness_scorers.target_change import change_of_targets, score_target_change


def _screen(rows, genes):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    return AnnData(X=np.array(list(rows.values()), dtype=float), obs=obs, var=pd.DataFrame(index=genes))


def test_conditions_that_share_a_target_are_averaged_and_unmeasured_targets_left_out():
    # A: in A 3, in A+B 5; B: in A+B 1; Z is not measured.
    rows = {"A+B": [5, 1, 0], CONTROL: [1, 2, 9], "A": [3, 8, 0], "A+Z": [7, 0, 0], "Z": [0, 0, 0]}
    table = change_of_targets(_screen(rows, ["A", "B", "C"]))
    assert table.to_dict("records") == [
        {"target": "A", "y0": 1.0, "y": 5.0, "n_conditions": 3},
        {"target": "B", "y0": 2.0, "y": 1.0, "n_conditions": 1},
    ]


def test_screen_without_measured_targets_has_an_empty_table():
    given = score_target_change(_screen({CONTROL: [1.0], "Z": [2.0]}, ["A"]))
    assert given.table.empty
    assert list(given.artefacts["target_change"].columns) == ["target", "y0", "y", "n_conditions"]
    assert given.artefacts["target_change"].empty


def test_guides_count_for_the_gene_that_they_target():
    screen = _screen({CONTROL: [1, 2], "A-1": [3, 2], "A-2+B-1": [5, 4]}, ["A", "B"])
    screen.obs["genes"] = [CONTROL, "A", "A+B"]
    assert change_of_targets(screen).to_dict("records") == [
        {"target": "A", "y0": 1.0, "y": 4.0, "n_conditions": 2},
        {"target": "B", "y0": 2.0, "y": 4.0, "n_conditions": 1},
    ]
