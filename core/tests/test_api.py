"""The parts of the functions of `import pertharness` that need no run."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pertharness
import pytest
from pertharness.contract.errors import DataError, PertharnessError, RecipeError
from pertharness.contract.jobs import Job, PluginRef, Status
from pertharness.host.api.arguments import check_words, several
from pertharness.host.api.comparison import compare
from pertharness.host.api.frames import RunTables, read_frame
from pertharness.host.api.html import html_of_run, html_table
from pertharness.host.api.inputs import file_of, name_data, write_data
from pertharness.host.api.progress import NotebookDisplay, RichReporter, make_reporter
from pertharness.host.api.results import Run
from pertharness.host.api.run_records import Failure
from pertharness.host.execution.nodes import Node, Outcome
from pertharness.host.run.datasets import dataset_entry, dataset_name, is_file
from pertharness.host.run.recipes import Choices, choose_recipe
from pertharness.host.run.reporter import Silent
from pertharness.host.text.csv_text import as_csv
from rich.console import Console


def test_every_public_name_is_there() -> None:
    for name in pertharness.__all__:
        assert getattr(pertharness, name) is not None
        assert name in dir(pertharness)
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = pertharness.rnu


# --- tables


def test_texts_stay_texts_and_numbers_keep_their_digits(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    frame = pd.DataFrame({
        "perturbation": ["NA", "nan", "007"], "gene": ["", "1e5", "None"], "value": [value, np.nan, -np.inf],
        "n": [1, 2, 3], "name": ["NA", "x", "y"],
    })  # fmt: skip
    (tmp_path / "t.csv").write_text(as_csv(frame), encoding="utf-8")
    read = read_frame(tmp_path / "t.csv")
    assert [*read["perturbation"]] == ["NA", "nan", "007"]
    assert [*read["gene"]] == ["", "1e5", "None"]
    assert [*read["name"]] == ["NA", "x", "y"]
    assert read["value"].iloc[0] == value
    assert np.isnan(read["value"].iloc[1])
    with gzip.open(tmp_path / "t.csv.gz", "wt", encoding="utf-8") as file:
        file.write(as_csv(frame))
    pd.testing.assert_frame_equal(read_frame(tmp_path / "t.csv.gz"), read)


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("model,value\n")
    assert [*read_frame(tmp_path / "t.csv").columns] == ["model", "value"]


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'.*absent\.csv' cannot be read .No such file"):
        read_frame(tmp_path / "absent.csv")


def test_tables_are_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text("model,value\nmean,1\n")
    tables = RunTables(tmp_path, {"curves": {"rows": 1, "summary": "Mean curves"}})
    assert [*tables] == ["curves"]
    assert len(tables["curves"]) == 1
    assert repr(tables) == "Tables:\n  curves: 1 rows, Mean curves"
    with pytest.raises(KeyError, match="did you mean 'curves'"):
        tables["curve"]


# --- data


def test_a_name_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "screen").write_text("")
    assert not is_file("demo")
    assert not is_file("plugin/name")
    assert is_file("absent.h5ad")
    assert is_file("screen")
    assert is_file(Path("demo"))
    assert dataset_name("folder/my screen.h5ad") == "my_screen"
    assert dataset_name("plugin/name") == "plugin-name"


def test_parameters_are_those_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = {"control_label": ["NTC*"], "pool": "batch", "only": {"dose": (1, 2)}, "layer": None}
    entry = dataset_entry("x.h5ad", {**params, "label_map": Path("map.csv")})
    assert entry.pop("file") == tmp_path / "x.h5ad"
    assert entry.pop("params") == {
        "control_label": "NTC*", "pool": ["batch"], "only": {"dose": [1, 2]}, "label_map": str(tmp_path / "map.csv")
    }  # fmt: skip
    assert not entry
    assert dataset_entry("demo", {"seed": 2}) == {"offer": "demo", "params": {"seed": 2}}
    with pytest.raises(RecipeError, match=r"no file and no dataset '\.\./x'"):
        dataset_entry("../x", {})


def test_data_get_names(tmp_path: Path) -> None:
    adata = anndata.AnnData(np.ones((2, 2)), uns={"pertharness": {"name": "mine"}})
    named = name_data(["a/x.h5ad", adata])
    assert [*named] == ["x", "mine"]
    assert write_data(named, tmp_path) == {"x": "a/x.h5ad", "mine": tmp_path / "mine.h5ad"}
    assert [*name_data(anndata.AnnData(np.ones((2, 2))))] == ["data"]
    assert name_data(None) == {}
    with pytest.raises(RecipeError, match="same name"):
        name_data(["a/x.h5ad", "b/x.h5ad"])
    with pytest.raises(RecipeError, match=r"data are named '\.\./x'"):
        name_data({"../x": "x.h5ad"})


def test_the_same_anndata_is_the_same_file(tmp_path: Path) -> None:
    adata = anndata.AnnData(np.arange(6.0).reshape(2, 3), obs=pd.DataFrame({"condition": ["a", "b"]}, index=["0", "1"]))
    assert file_of(adata, tmp_path, "a").read_bytes() == file_of(adata.copy(), tmp_path, "b").read_bytes()
    adata.uns["odd"] = object()
    with pytest.raises(DataError, match="'a' cannot be written as h5ad"):
        file_of(adata, tmp_path, "a")
    assert [*tmp_path.glob("*.tmp")] == []


# --- arguments


def test_words_and_seeds() -> None:
    assert check_words("tasks", "double", ("double", "single")) == ("double",)
    with pytest.raises(RecipeError, match="tasks has no 'tripel'"):
        check_words("tasks", ["tripel"], ("double", "single"))
    assert several(3) == [3]
    assert several(np.arange(1, 3)) == [1, 2]
    assert several("1-5") == "1-5"
    with pytest.raises(RecipeError, match=r"seeds is \[None\]"):
        several([None])  # type: ignore[list-item]


def test_a_recipe_in_memory_is_one(tmp_path: Path) -> None:
    content = {"datasets": {"demo": {}}, "tasks": [{"split": {"kind": "double"}}], "seeds": [1]}
    recipe = choose_recipe(content, Choices(seeds=[4], models=["mean"], resources={"jobs": 1}))
    assert (recipe.seeds, recipe.resources.jobs, [spec.text() for spec in recipe.models or ()]) == ((4,), 1, ["mean"])
    with pytest.raises(RecipeError, match="put layer under params of the dataset"):
        choose_recipe(content, Choices(params={"layer": "x"}))


# --- what is shown


def test_what_a_plugin_says_is_no_markup() -> None:
    evil = "<script>alert(1)</script>\x1b[31m"
    page = html_table([evil], [[evil]])
    assert "<script>" not in page
    assert "\x1b" not in page
    failures = [Failure(evil, "failed", f"{evil}\nmore", "0" * 64)] * 12
    page = html_of_run(evil, Path("absent"), failures)
    assert "<script>" not in page
    assert page.count("failed: ") == 10
    assert "2 more in <code>run.failed</code>" in page


JOB = Job(key="k", stage="scores", plugin=PluginRef(name="p", module="p", version="1"))
NODE = Node(job=JOB, python=Path("python"), title="t")


def test_nothing_is_shown_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(make_reporter(progress=False), Silent)
    reporter = make_reporter(progress=True)  # standard error is a file here
    reporter.note("a note")
    with reporter.jobs(2) as observer, reporter.downloading("x") as progress:
        assert observer is None
        assert progress is None
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_bars() -> None:
    text = io.StringIO()
    reporter = RichReporter(Console(file=text, force_terminal=True, width=80))
    reporter.note("a [red]note[/red]")
    with reporter.downloading("norman") as progress:
        progress(10, 100)
    with reporter.jobs(1) as observer:
        observer.ended(NODE, Outcome("failed", "no", Status(key="k", state="failed", message="no"), fresh=True))
        observer.tick([])
    shown = text.getvalue()
    assert "a [red]note[/red]" in shown
    assert "norman" in shown
    assert "failed  t" in shown


def test_a_notebook_is_shown_what_did_not_go_well() -> None:
    text = io.StringIO()
    display = NotebookDisplay(Console(file=text, force_terminal=True, width=80), 2)
    with display:
        display.planned(1)
        display.started(NODE)
        display.ended(NODE, Outcome("done", status=Status(key="k", state="done"), fresh=True))
        display.ended(NODE, Outcome("failed", "no", Status(key="k", state="failed", message="no"), fresh=True))
    shown = text.getvalue()
    assert "[2/3] failed  t" in shown
    assert "done    t" not in shown


# --- two runs


def run_of(folder: Path, *, value: float = 1.0, n: int = 7, verdict: str = "better", **changed: Any) -> Run:
    """A run of one model, as far as a comparison looks at it."""
    folder.mkdir()
    row = {
        "dataset": "made", "task": "double", "plugin": "p", "model": "mean", "params": "", "metric": "l2",
        "variant": "default", "stratum": "all", "value": value, "scored": 7, "expected": 7, "n": n, "rank": 1,
        "verdict": verdict,
    }  # fmt: skip
    (folder / "leaderboard.csv").write_text(as_csv(pd.DataFrame([row])), encoding="utf-8")
    attempt = {
        "dataset": "made",
        "task": "double",
        "seed": 1,
        "plugin": "p",
        "model": "mean",
        "params": "",
        "split": "s",
    }
    manifest = {
        "pertharness": "1", "python": "3", "datasets": {"made": "d"}, "attempts": [attempt],
        "records": {"d": {"artefacts": "a1"}, "s": {"artefacts": "a2"}},
        "plugins": {"p": {"version": "1", "packages": {"numpy": "2"}}},
    }  # fmt: skip
    return Run(folder, {**manifest, **changed})


def test_equal_content_under_other_keys_is_comparable(tmp_path: Path) -> None:
    a = run_of(tmp_path / "a")
    b = run_of(
        tmp_path / "b", value=1.5, verdict="undecided", pertharness="2", datasets={"made": "d2"},
        records={"d2": {"artefacts": "a1"}, "s": {"artefacts": "a2"}},
    )  # fmt: skip
    compared = compare(a, b)
    assert compared.comparable
    assert [*compared.scores["difference"]] == [0.5]
    assert [*compared.versions.itertuples(index=False, name=None)] == [("pertharness", "1", "2")]
    text = repr(compared)
    assert "made double, mean, l2: 1 | 1.5 (+0.5)" in text
    assert "made double, mean, l2: better | undecided" in text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"records": {"d": {"artefacts": "other"}, "s": {"artefacts": "a2"}}}, "other data"),
        ({"records": {"d": {"artefacts": "a1"}, "s": {"artefacts": "other"}}}, r"other splits \(seed 1\)"),
        ({"attempts": []}, "only run A has this task"),
    ],
)
def test_what_is_not_comparable_has_its_reason(changed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    compared = compare(run_of(tmp_path / "a"), run_of(tmp_path / "b", value=2.0, **changed))
    assert not compared.comparable
    assert compared.tasks["reason"].str.fullmatch(reason).all()
    assert compared.scores["difference"].isna().all()
    assert not len(compared.compared)


def test_means_over_other_numbers_have_no_difference(tmp_path: Path) -> None:
    compared = compare(run_of(tmp_path / "a"), run_of(tmp_path / "b", value=2.0, n=6))
    assert compared.scores["difference"].isna().all()
    assert "1 | 2 (means over 7 | 6 values)" in repr(compared)


def test_errors_have_one_base() -> None:
    assert issubclass(RecipeError, PertharnessError)
    assert pertharness.PertharnessError is PertharnessError
