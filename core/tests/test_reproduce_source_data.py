"""Source Data workbooks: columns known by name, rows matched point by point, everything else said."""

import json
from dataclasses import dataclass

import pandas as pd
import pytest
from pertharness.contract.cards import RecipeOffer
from pertharness.contract.errors import PertharnessError, RecipeError
from pertharness.host.reproduce.point_by_point import compare_sheets, describe_result
from pertharness.host.reproduce.run_files import RunFiles
from pertharness.host.reproduce.sheets import as_sheet, read_workbook
from pertharness.host.reproduce.source_data import compare_source_data, find_source_data

openpyxl = pytest.importorskip("openpyxl", reason="the optional extra 'reproduce' is not installed")

OFFER = RecipeOffer(
    name="small-2026", summary="A small one", doi="10.1/small", recipes={"double": "double.toml"},
    source_data=("first.xlsx", "second.xlsx"),
    aliases={"additive_model": "additive", "replogle_k562_essential": "replogle_k562"},
)  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A score of the run."""

    model: str
    perturbation: str
    seed: int
    value: float
    metric: str = "l2"
    dataset: str = "norman"
    variant: str = "default"
    coordinate: float | None = None


SCORES = (
    Value("additive", "A+B", 1, 4.0), Value("additive", "A+B", 2, 6.0), Value("additive", "A+C", 1, 5.0),
    Value("gears", "A+B", 1, 7.0), Value("gears", "A+B", 1, 0.5, "pearson_delta"),
    Value("gears", "", 1, 0.2, "tpr_fdp", variant="published-code", coordinate=0.1),
    Value("gears", "", 2, 0.4, "tpr_fdp", variant="published-code", coordinate=0.1),
    Value("gears", "", 1, 0.9, "tpr_fdp", coordinate=0.1),  # of another variant than that of the authors' code
    Value("mean", "X", 1, 1.0, dataset="adamson"), Value("mean", "X", 1, 2.0, dataset="replogle_k562"),
)  # fmt: skip


def make_run(folder, scores=SCORES):
    rows = [{"task": "t", "params": "", "gene": "", **vars(one)} for one in scores]
    pd.DataFrame(rows).to_csv(folder / "scores.csv.gz", index=False)
    models = ["additive", "gears", "mean", "scgpt"]  # the last one has no scores
    manifest = {
        "datasets": dict.fromkeys(["norman", "adamson", "replogle_k562"], "key"),
        "attempts": [{"model": model, "params": ""} for model in models],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return RunFiles(folder)


def compared(folder, *cells, name="Fig"):
    return compare_sheets([as_sheet("file.xlsx", name, cells)], [make_run(folder)], OFFER.aliases)


def workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)


def test_values_are_matched_by_model_perturbation_and_seed(tmp_path):
    (result,) = compared(
        tmp_path,
        ("method", "perturbation", "seed", "dist"),
        ("additive_model", "A+B", 1, 4.5),
        ("additive_model", "B+A", 2, 6.0),  # the other order
        ("Additive", "A_C", "1", 5.1),  # another separator; a number as text
        ("GEARS", "A+B", 1, 7.0),
    )
    assert (result.metric, result.rows, result.matched) == ("l2", 4, 4)
    assert result.max_difference == pytest.approx(0.5)
    assert result.median_difference == pytest.approx(0.05)  # of 0.5, 0, 0.1, 0
    assert result.note == ""


def test_without_a_seed_the_mean_over_splits_is_compared(tmp_path):
    (result,) = compared(tmp_path, ("model", "condition", "L2"), ("additive", "A+B", 5.0))
    assert (result.matched, result.max_difference) == (1, 0.0)  # (4 + 6) / 2


def test_two_metrics_of_a_sheet_are_compared_each(tmp_path):
    results = compared(tmp_path, ("name", "perturbation", "seed", "dist", "r2_delta"), ("gears", "A+B", 1, 7.5, 0.25))
    assert [(one.metric, one.max_difference) for one in results] == [("l2", 0.5), ("pearson_delta", 0.25)]


def test_a_column_of_metrics_and_one_of_values_is_understood(tmp_path):
    cells = (("method", "perturbation", "metric", "value"), ("gears", "A+B", "r2_delta", 0.5), ("gears", "A+B", "x", 1))
    (result,) = compared(tmp_path, *cells)
    assert (result.metric, result.rows, result.matched, result.max_difference) == ("pearson_delta", 1, 1, 0.0)


def test_a_curve_is_compared_at_its_coordinates_with_the_published_variant(tmp_path):
    (result,) = compared(tmp_path, ("method", "fdp", "tpr"), ("gears", 0.1, 0.3), ("gears", 0.15, 0.3))
    assert (result.rows, result.matched) == (2, 1)  # 0.15 is not on the grid of this run
    assert result.max_difference == pytest.approx(0.0)  # (0.2 + 0.4) / 2
    assert result.note == "1 rows: no such score of 'gears'"


def test_a_header_is_found_below_titles_and_notes(tmp_path):
    title, note = ("Source data of a figure", None, None), ("the model is in column A", None, None)
    (result,) = compared(tmp_path, title, (None, None), note, ("Method", "Perturbation", "Dist"), ("gears", "A+B", 7.0))
    assert result.matched == 1


def test_every_row_that_is_not_matched_is_counted_with_its_cause(tmp_path):
    (result,) = compared(
        tmp_path,
        ("method", "perturbation", "seed", "dist"),
        ("gears", "A+B", 1, 7.0),
        ("scGPT", "A+B", 1, 7.0),
        ("oracle", "A+B", 1, 7.0),
        ("gears", "Q+Z", 1, 7.0),
        ("additive", "A+C", 1, 5.0),
        ("additive", "A+C", 1, 5.0),
        ("gears", "A+B", 1, None),
    )
    assert (result.rows, result.matched) == (6, 1)  # an empty cell is no value
    assert set(result.note.split("; ")) == {
        "1 rows: no such score of 'scgpt'", "1 rows: unknown model 'oracle'", "1 rows: no such score of 'gears'",
        "2 rows: the sheet has several rows for one score",
    }  # fmt: skip


def test_a_perturbation_of_two_screens_needs_the_dataset(tmp_path):
    (without,) = compared(tmp_path, ("method", "perturbation", "dist"), ("mean", "X", 1.0))
    assert without.matched == 0
    rows = [("method", "dataset", "perturbation", "dist"), ("mean", "adamson", "X+ctrl", 1.0)]
    (named,) = compared(tmp_path, *rows, ("mean", "replogle_k562_essential", "ctrl+X", 2.5), ("mean", "else", "X", 1))
    assert (named.matched, named.max_difference) == (2, 0.5)
    assert named.note == "1 rows: unknown dataset 'else'"


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ((), "it is empty"),
        (((None, None),), "it is empty"),
        ((("gene", "perturbation", "dist"), ("G", "A", 1)), "no column for the model"),
        ((("method", "perturbation", "height"), ("gears", "A", 1)), "no column of values"),
        ((("method", "dist"), ("gears", 1)), "no column that identifies a value"),
        ((("method", "perturbation", "dist"),), "it has no numbers"),
    ],
)
def test_a_sheet_that_cannot_be_used_says_why_and_shows_its_header(cells, problem, tmp_path):
    (result,) = compared(tmp_path, *cells)
    assert (result.rows, result.matched) == (0, 0)
    assert f"not used: {problem}" in describe_result(result)
    assert all(repr(cell) in result.note for cell in (cells[0] if cells else ()) if cell)


def test_a_workbook_is_read_sheet_by_sheet(tmp_path):
    rows = [("method", "perturbation", "seed", "dist"), ("gears", "A+B", 1, 7.25)]
    workbook(tmp_path / "a.xlsx", first=rows, second=[("what", "ever")], empty=[])
    sheets = list(read_workbook(tmp_path / "a.xlsx"))
    assert [(sheet.name, sheet.rows is None) for sheet in sheets] == [
        ("first", False), ("second", True), ("empty", True),
    ]  # fmt: skip
    results = compare_source_data(OFFER, [tmp_path / "a.xlsx"], [make_run(tmp_path)])
    assert [one.matched for one in results] == [1, 0, 0]
    assert "1 of 1 values matched; differences: largest 0.25, median 0.25" in describe_result(results[0])


def test_a_file_that_is_no_workbook_is_said_and_stops_nothing(tmp_path):
    (tmp_path / "a.xlsx").write_text("<html>")
    workbook(tmp_path / "b.xlsx", s=[("method", "perturbation", "dist"), ("gears", "A+B", 7.0)])
    with pytest.raises(PertharnessError, match="cannot be read as an Excel workbook"):
        list(read_workbook(tmp_path / "a.xlsx"))
    bad, good = compare_source_data(OFFER, [tmp_path / "a.xlsx", tmp_path / "b.xlsx"], [make_run(tmp_path)])
    assert "cannot be read as an Excel workbook" in bad.note
    assert good.matched == 1


def test_the_files_are_looked_for_where_published_files_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("PERTHARNESS_DATA", str(tmp_path))
    found, said = find_source_data(OFFER, None)
    assert (found, "https://doi.org/10.1/small" in said) == ([], True)
    (tmp_path / OFFER.name).mkdir()
    file = tmp_path / OFFER.name / OFFER.source_data[1]
    file.write_text("")
    assert find_source_data(OFFER, None) == ([file], "")


def test_a_folder_without_the_files_is_an_error_before_anything_runs(tmp_path):
    with pytest.raises(RecipeError, match=r"first\.xlsx"):
        find_source_data(OFFER, tmp_path)


def test_a_benchmark_without_source_data_compares_none_and_refuses_their_folder(tmp_path):
    bare = OFFER.model_copy(update={"source_data": ()})
    assert find_source_data(bare, None) == ([], "")
    with pytest.raises(RecipeError, match="small-2026 names no files of Source Data; leave out --source-data"):
        find_source_data(bare, tmp_path)
