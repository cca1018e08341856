"""Label maps: read as spreadsheets write them, refused with file and line, and drafted for correction."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from pertharness.contract.errors import DataError
from pertharness.data.label_map import read_label_map
from pertharness.datasets import load_dataset
from pertharness.datasets.draft import draft_label_map
from pertharness.host.cli.data import data
from pertharness.host.recipe import make_recipe, read_recipe


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_map_is_read_as_programs_write_it(delimiter: str, encoding: str, tmp_path: Path) -> None:
    lines = [["Label", "n", "targets "], ["wild", "3", "Control"], ["A b", "1", "KLF1 + AHR"], ["x", "2", "drop"], []]
    path = tmp_path / "map.csv"
    path.write_text("\r\n".join(delimiter.join(line) for line in lines), encoding=encoding)
    assert read_label_map(path) == {"wild": "control", "A b": "AHR+KLF1", "x": "drop"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,meaning\na,b\n", "no column 'targets'"),
        ("", "no column 'label'"),
        ("label,targets\na,\n", "line 2: no targets for 'a'"),
        ("label,targets\na,KLF1+\n", "the targets of 'a' are 'KLF1+'"),
        ("label,targets\na,KLF1\na,AHR\n", "line 3: duplicate label 'a', with the targets 'KLF1' and 'AHR'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_label_map(tmp_path / "map.csv")
    assert words in str(error.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_label_map(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("meaning", "words"),
    [
        ("ctrl", "'control' for a control"),
        ("KLF1+non-targeting", "nothing for a control beside a gene"),
        ("NA", "'drop' for an unknown perturbation"),
        ("KLF1;AHR", "genes joined by '+'"),
        ("KLF1_AHR", "genes joined by '+'"),
    ],
)
def test_a_meaning_in_other_words_is_no_target(meaning: str, words: str, tmp_path: Path) -> None:
    write_screen(tmp_path / "a.h5ad", ["NTC", "SPI1", "AHR", "x"])
    params = {"label_map": {"x": meaning}}
    with pytest.raises(DataError) as error:
        load_dataset("h5ad", tmp_path / "a.h5ad", params)
    assert f"reads 'x' as {'+'.join(sorted(meaning.split('+')))!r}" in str(error.value)
    assert words in str(error.value)


def test_a_fault_of_a_map_is_told_in_our_words_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load_dataset("h5ad", tmp_path / "a.h5ad", {"label_map": str(tmp_path / "absent.csv")})
    assert "Value error" not in str(error.value)


def write_screen(path: Path, labels: list[str]) -> None:
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))])
    values = np.log1p(np.full((len(labels), 3), 1e4 / 3, dtype=np.float32))
    anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=["KLF1", "AHR", "SPI1"])).write_h5ad(path)


def test_a_draft_says_how_each_label_is_read(tmp_path: Path) -> None:
    write_screen(tmp_path / "a.h5ad", ["NTC_1", "KLF1-1", "KLF1-1", "AHR-2", "AHR-1+KLF1-1", "nan"])
    lines, _ = draft_label_map(tmp_path / "a.h5ad", {})
    assert lines == [
        ("NTC_1", "control", 1, "control"), ("KLF1-1", "KLF1", 2, "1 target"), ("AHR-2", "AHR", 1, "1 target"),
        ("AHR-1+KLF1-1", "AHR+KLF1", 1, "2 targets"), ("nan", "drop", 1, "no perturbation"),
    ]  # fmt: skip


def test_a_draft_is_written_where_the_labels_cannot_be_read_and_goes_back(tmp_path: Path) -> None:
    write_screen(tmp_path / "b.h5ad", ["wild", "KLF1_x", "AHR", "(+)-JQ1"])
    out = tmp_path / "map.csv"
    result = CliRunner().invoke(data, ["labels", str(tmp_path / "b.h5ad"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "no control" in result.output
    text = (
        out.read_text(encoding="utf-8").replace("wild,wild,", "wild,control,").replace("KLF1_x,KLF1_x", "KLF1_x,KLF1")
    )
    out.write_text(text, encoding="utf-8")
    again, _ = draft_label_map(tmp_path / "b.h5ad", {"label_map": str(out)})
    assert {label: targets for label, targets, *_ in again} == {
        "wild": "control", "KLF1_x": "KLF1", "AHR": "AHR", "(+)-JQ1": "(&)-JQ1",
    }  # fmt: skip


def test_a_recipe_finds_its_label_map_in_its_own_folder(tmp_path: Path) -> None:
    text = '[datasets.a]\noffer = "demo"\nparams = { label_map = "maps/a.csv" }\n'
    (tmp_path / "r.toml").write_text(text, encoding="utf-8")
    assert read_recipe(tmp_path / "r.toml").datasets["a"].params == {"label_map": str(tmp_path / "maps" / "a.csv")}
    table = {"datasets": {"a": {"offer": "demo", "params": {"label_map": {"x": "drop"}}}}}
    assert make_recipe(table).datasets["a"].params == {"label_map": {"x": "drop"}}
