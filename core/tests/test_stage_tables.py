"""The tables of the stages: each has a line for every stage, and names of files stand nowhere else."""

import ast
from pathlib import Path
from typing import get_args

import pertharness
import pytest
from pertharness.contract.stages import ARTEFACTS, CONFINED, ON_DEVICE, STAGE_VERSIONS, Stage
from pertharness.worker.stages import STAGES

PACKAGE = Path(pertharness.__file__).parent


def test_every_stage_has_a_line_in_every_table() -> None:
    stages = set(get_args(Stage))
    assert set(ARTEFACTS) == set(STAGE_VERSIONS) == set(STAGES) == stages
    assert {*ON_DEVICE, *CONFINED} <= stages


@pytest.mark.parametrize(
    ("stage", "name", "allowed"),
    [
        ("splits", "split.json", True),
        ("splits", "val.h5ad", True),
        ("splits", "test.h5ad", False),
        ("scores", "scores.csv", True),
        ("scores", "noise-ceiling_2.csv", True),
        ("scores", "../scores.csv", False),
        ("scores", "scores.csv\n", False),
        ("predictions", "more.csv", False),
        ("checks", "card.json", False),
    ],
)
def test_a_job_leaves_only_files_of_its_stage(stage: Stage, name: str, allowed: bool) -> None:
    assert ARTEFACTS[stage].allow(name) == allowed


def test_no_module_spells_the_name_of_an_artefact_itself() -> None:
    names = {name for artefacts in ARTEFACTS.values() for name in (*artefacts.always, *artefacts.sometimes)}
    spelled = {
        (path.relative_to(PACKAGE).as_posix(), node.value)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert {module for module, _ in spelled} == {"contract/stages.py"}
    assert {name for _, name in spelled} == names
