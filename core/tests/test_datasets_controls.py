"""Spellings of controls: the usual ones are known, and no gene is taken for one."""

from __future__ import annotations

import pytest
from pertharness.datasets.controls import is_control_label, is_no_perturbation, is_substitute

CONTROLS = (
    "NTC_1", "NT-2", "sgNTC", "sgNT_3", "sg-nontargeting-1", "nt_ctrl", "neg-ctrl", "neg_control", "NegCtrl0",
    "negative control", "Negative_Control_12", "Non-Targeting Human", "non-targeting_00003", "NO-TARGET", "NO_SITE_4",
    "INTERGENIC1144056", "p_INTERGENIC393453", "ONE_INTERGENIC_SITE_12", "Safe_H", "safe-harbour-1", "non-gene-site",
    "ntc|ntc", "NT_NT",
    "NegCtrl0_NegCtrl1__NegCtrl0_NegCtrl1", "NTC_1+NTC_2", "non-targeting control", "CTRL0001", "Control 2",
    "scrambled.2", "NTg1", "sgCtrl-4", "non-cutting_7",
)  # fmt: skip
SUBSTITUTES = (
    "DMSO", "dmso_1", "DMSO_TF", "[('DMSO_TF', 0.0, 'uM')]", "vehicle", "mock", "PBS", "WT", "untreated", "AAVS1",
    "sgAAVS1-1", "LacZ", "GFP", "EGFP", "mCherry", "luciferase", "empty_vector", "ROSA26_2",
)  # fmt: skip
GENES = (
    "NT5E", "NT5C", "NT5C1A", "WT1", "SAFB", "NTS", "NTN1", "CTRC", "CTRB1", "SCRIB", "NEGR1", "CTLA4", "EVI5", "GFPT1",
    "GFPT2", "MOCS1", "EMP1", "LUC7L", "PARN", "MUL1", "NONO", "SGK1", "SHH", "VEGFA", "BFAR", "RFPL1", "WTAP",
)  # fmt: skip


@pytest.mark.parametrize("label", CONTROLS)
def test_the_usual_spellings_are_controls(label: str) -> None:
    assert is_control_label(label)


@pytest.mark.parametrize("label", SUBSTITUTES)
def test_what_stands_in_for_a_control_is_known_but_is_none(label: str) -> None:
    assert is_substitute(label)
    assert not is_control_label(label)


@pytest.mark.parametrize("label", [*GENES, "KLF1", "KLF1_NT", "KLF1+ctrl", "DMSO+KLF1"])
def test_genes_are_none_of_these(label: str) -> None:
    assert not is_control_label(label)
    assert not is_substitute(label)
    assert not is_no_perturbation(label)
