"""The recipe that options without a recipe mean."""

import json
from pathlib import Path

import pytest
from pertharness.contract.errors import RecipeError
from pertharness.host.run.quick import task_of_split


@pytest.mark.parametrize(
    ("test", "task"),
    [
        (["A+B", "C+D"], "double"),
        (["A", "B+ctrl", "ctrl+C"], "single"),
        (["KLF1+control"], "single"),
        (["A", "A+B"], "mixed"),
        ([], "mixed"),
    ],
)
def test_a_split_says_its_task_where_its_labels_do(test: list[str], task: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"train": ["X"], "test": test}))
    assert task_of_split(tmp_path / "s.json") == task


@pytest.mark.parametrize("test", [["A_B", "C_D"], ["A+NT"], ["A+non-targeting"]])
def test_labels_that_may_mean_either_are_asked_for(test: list[str], tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"train": ["X"], "test": test}))
    with pytest.raises(RecipeError, match="say --task double or --task single"):
        task_of_split(tmp_path / "s.json")


def test_a_split_of_ours_may_hold_genes_of_odd_names(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"train": ["X"], "test": ["HLA_A", "B"], "hash": "0"}))
    assert task_of_split(tmp_path / "s.json") == "single"
