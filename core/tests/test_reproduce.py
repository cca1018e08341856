"""Published beside measured: the recipes and numbers that the package brings, and what is measured from a run."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from pertharness.contract.errors import RecipeError
from pertharness.host.cli.run import make_recipe as of_options
from pertharness.host.recipe import demo_recipe, make_recipe, read_recipe, write_recipe
from pertharness.host.reproduce import papers, published_file, recipe_file
from pertharness.host.reproduce.measure import QUANTITIES, measure
from pertharness.host.reproduce.published import Number, read_benchmark
from pertharness.host.reproduce.run_files import NotMeasured, RunFiles
from pertharness.host.reproduce.side_by_side import compare, title_of, write_rows

ROOT = Path(__file__).parents[2]
PAPER = "ahlmann-eltze-2025"
REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", ROOT.parent / "shared")) / "reference"
DEEP_OF_DOUBLES = {"gears", "scgpt", "scfoundation", "cpa", "geneformer", "uce", "scbert"}
DEEP_OF_SINGLES = {"gears", "scgpt", "uce", "scbert", "geneformer"}


def recipe(short):
    return read_recipe(recipe_file(Path(f"{PAPER}-{short}")))


def test_the_recipe_of_the_doubles_states_the_published_protocol():
    double = recipe("double")
    (task,) = double.tasks
    assert {spec.text() for spec in double.models} == DEEP_OF_DOUBLES | {"no_change", "additive", "mean"}
    assert (double.seeds, task.dataset, task.split.kind) == ((1, 2, 3, 4, 5), "norman", "double")
    assert (task.score_on, task.reference) == (("test", "val"), "additive")
    assert set(task.common_set) == DEEP_OF_DOUBLES | {"no_change", "additive"}
    assert "interactions[stack=5]" in {spec.text() for spec in double.scorers}


def test_the_recipe_of_the_singles_states_the_published_protocol():
    single = recipe("single")
    models = {spec.text() for spec in single.models}
    assert models > DEEP_OF_SINGLES | {"no_change", "mean", "linear", "linear[G=embed:scgpt]"}
    assert single.left_out.keys() == {"cpa", "scfoundation"}
    assert single.seeds == (1, 2)
    assert [task.dataset for task in single.tasks] == ["adamson", "replogle_k562", "replogle_rpe1"]
    for task in single.tasks:
        assert (task.split.kind, task.score_on, task.reference) == ("simulation", ("test", "val"), "mean")
        assert set(task.common_set) == DEEP_OF_SINGLES | {"no_change", "mean", "linear"}


@pytest.mark.parametrize("short", ["double", "single"])
def test_the_repository_shows_the_recipes_of_the_package(short):
    shown = ROOT / "recipes" / f"{PAPER}-{short}.toml"
    assert shown.read_text(encoding="utf-8") == recipe_file(Path(shown.stem)).read_text(encoding="utf-8")
    assert demo_recipe(recipe(short)).name == f"{PAPER}-{short}-demo"


def test_a_file_comes_before_a_recipe_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path(f"{PAPER}-double")
    assert recipe_file(name).is_file()
    assert recipe_file(Path("elsewhere") / name) == Path("elsewhere") / name
    name.write_text("")
    assert recipe_file(name) == name


def test_models_that_an_option_leaves_out_do_not_narrow_the_comparison():
    given = {"demo": True, "models": "additive,mean", "seeds": "2"}
    narrowed = of_options(Path(f"{PAPER}-double"), given)
    (task,) = narrowed.tasks
    assert (narrowed.seeds, task.common_set, task.reference) == ((2,), ("additive",), "additive")


def test_a_wheel_holds_recipes_and_numbers(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "core", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    folder = "pertharness/host/reproduce"
    wanted = {f"{folder}/recipes/{PAPER}-{short}.toml" for short in ("double", "single")}
    assert wanted | {f"{folder}/numbers/{PAPER}.toml"} <= set(names)


def test_every_published_number_has_a_source_and_can_be_measured():
    benchmark = read_benchmark(published_file(PAPER))
    assert len({number.id for number in benchmark.numbers}) == len(benchmark.numbers)
    for number in benchmark.numbers:
        assert number.quantity in QUANTITIES
        assert number.source
        assert number.dataset in recipe(number.recipe).datasets
    assert {f"{PAPER}-{short}" for short in benchmark.recipes} == set(benchmark.recipes.values())


NOTEBOOK = {
    "norman-singles": lambda printed, _: printed["n_single"],
    "norman-doubles": lambda printed, _: printed["n_double"],
    "norman-null-delta": lambda _, null: null["delta"],
    "norman-null-sigma": lambda _, null: null["sigma"],
    "norman-null-p0": lambda _, null: null["p0"],
    "norman-upper": lambda printed, _: printed["upper_thres"],
    "norman-lower": lambda printed, _: printed["lower_thres"],
    "norman-outside-notebook": lambda printed, _: printed["per_seed_interactions"],
    "norman-outside": lambda printed, _: printed["paper_reports"],
}
"""Our id -> where the number stands in the output of the authors' notebook, given whole and as its estimated null."""


@pytest.mark.reference
def test_published_numbers_are_those_of_the_authors_notebook():
    path = REFERENCE / "norman_rendered_notebook.json"
    if not path.exists():
        pytest.skip(f"no {path.name} in {REFERENCE}; name the folder above it in PERTHARNESS_SHARED")
    printed = json.loads(path.read_text(encoding="utf-8"))
    table = printed["fp0"]
    null = dict(zip(table["cols"], table["values"][table["rows"].index("mlest")], strict=True))
    ours = {number.id: number.value for number in read_benchmark(published_file(PAPER)).numbers}
    assert {name: ours[name] for name in NOTEBOOK} == {name: find(printed, null) for name, find in NOTEBOOK.items()}
    # What it counts over all stacked splits, each of the same doubles and genes.
    splits = ours["norman-splits"]
    assert printed["n_above_upper"] + printed["n_below_lower"] == splits * ours["norman-outside-notebook"]
    assert printed["N"] == splits * ours["norman-entries"]


def test_notebook_numbers_name_the_notebook_as_their_source():
    numbers = {number.id: number for number in read_benchmark(published_file(PAPER)).numbers}
    assert set(NOTEBOOK) <= set(numbers)
    named = {name for name, number in numbers.items() if "rendered notebook" in number.source}
    assert named <= set(NOTEBOOK)


def test_an_unknown_benchmark_is_told_with_what_there_is():
    with pytest.raises(RecipeError, match="did you mean 'ahlmann-eltze-2025'"):
        published_file("ahlmann-eltze-2024")
    assert list(papers()) == [PAPER]


def test_a_misspelled_recipe_of_the_package_is_told_with_what_may_have_been_meant():
    with pytest.raises(RecipeError, match="did you mean 'ahlmann-eltze-2025-double'"):
        recipe_file(Path("ahlmann-eltze-2025-duble"))
    assert recipe_file(Path("nowhere.toml")) == Path("nowhere.toml")


MODELS = ("additive", "deep")


def make_run(folder, *, answers=("A+B", "A+C"), silent=(), dataset_state="done"):
    """A run of two splits of a dataset of 3 singles and 4 doubles; `deep` answers only some of the doubles."""
    run, store = folder / "runs" / "small", folder / "store"
    held = {1: {"test": ["A+B"], "val": ["A+C"]}, 2: {"test": ["B+C"], "val": ["A+B", "A+D"]}}
    labels = ["control", "A", "B", "C", "A+B", "A+C", "B+C", "A+D"]
    (store / "datasets" / "d").mkdir(parents=True)
    pd.DataFrame({"perturbation": labels}).to_csv(store / "datasets" / "d" / "perturbations.csv", index=False)
    for seed, parts in held.items():
        (store / "splits" / f"s{seed}").mkdir(parents=True)
        (store / "splits" / f"s{seed}" / "split.json").write_text(json.dumps(parts))
    task = {"split": {"kind": "double"}, "score_on": ["test", "val"], "common_set": list(MODELS)}
    data = {"name": "small", "seeds": [1, 2], "datasets": {"norman": {"offer": "demo"}}, "tasks": [task]}
    write_recipe(make_recipe(data), run / "recipe.toml")
    states = {"d": dataset_state, "s1": "done", "s2": "done", "p": "skipped" if silent else "done"}
    records = {key: {"title": f"job {key}", "state": state, "message": "no file" * (state != "done")}
               for key, state in states.items()}  # fmt: skip
    attempts = [
        {"dataset": "norman", "task": "double", "seed": seed, "model": model, "params": "", "split": f"s{seed}",
         "prediction": "p", "reason": "not installed: 'deep'; expected" if model in silent else ""}
        for seed in held for model in MODELS
    ]  # fmt: skip
    manifest = {"store": str(store), "datasets": {"norman": "d"}, "records": records, "attempts": attempts}
    (run / "manifest.json").write_text(json.dumps(manifest))
    rows = [
        {"dataset": "norman", "task": "double", "seed": seed, "model": model, "params": "", "perturbation": label,
         "gene": "", "metric": "l2", "variant": "default", "coordinate": "",
         "value": seed if model == "additive" or label in answers else ""}
        for seed, parts in held.items() for model in MODELS if model not in silent
        for labels in parts.values() for label in labels
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(run / "scores.csv.gz", index=False)
    (run / "tables").mkdir()
    call = {"dataset": "norman", "threshold": ["local", "tail"], "upper": [0.25, 0.5], "sigma": [0.1, 0.1]}
    pd.DataFrame(call).to_csv(run / "tables" / "interaction_call.csv", index=False)
    classes = {"dataset": "norman", "threshold": "local", "class": ["additive", "buffering", "opposite"]}
    shares = {"count": [195, 5, 0], "share": [0.975, 0.025, 0.0]}
    pd.DataFrame(classes | shares).to_csv(run / "tables" / "class_composition.csv", index=False)
    return RunFiles(run)


def number(quantity, column="", value=0.0, **fields):
    given = {"id": quantity, "recipe": "double", "dataset": "norman", "figure": "Fig. 1", "source": "a test", **fields}
    return Number(quantity=quantity, column=column, value=value, **given)


@pytest.mark.parametrize(
    ("quantity", "column", "expected"),
    [
        ("singles", "", 3), ("doubles", "", 4), ("splits", "", 2),
        ("held_out", "", 2.5),  # 2 and 3
        ("held_out_common", "", 1.5),  # A+B and A+C of the first, A+B of the second
        ("answered_by_all", "", 3),  # the three singles: none was held out, so none was refused
        ("call", "upper", 0.25), ("call", "sigma", 0.1),
        ("interactions", "", 5), ("entries", "", 200),
        ("class_count", "opposite", 0), ("class_share", "buffering", 2.5),
    ],
)  # fmt: skip
def test_each_quantity_is_measured_from_the_files_of_the_run(quantity, column, expected, tmp_path):
    assert measure(make_run(tmp_path), number(quantity, column)) == pytest.approx(expected)


def test_every_quantity_is_tested_and_documented():
    tested = {row[0] for row in test_each_quantity_is_measured_from_the_files_of_the_run.pytestmark[0].args[1]}
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert tested == set(QUANTITIES)
    section = page.split("| quantity | measured as |")[1].split("\n\n")[0]
    described = [name for row in section.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])]
    assert described == list(QUANTITIES)


@pytest.mark.parametrize(
    ("made", "asked", "reason"),
    [
        ({"silent": ("deep",)}, number("held_out_common"), "needs answers of deep.*not installed: 'deep'"),
        ({"answers": ()}, number("answered_by_all"), "needs answers of deep"),
        ({"dataset_state": "failed"}, number("singles"), "job d: failed: no file"),
        ({}, number("singles", dataset="adamson"), "no dataset 'adamson'"),
        ({}, number("held_out", dataset="adamson"), "no task for the dataset 'adamson'"),
        ({}, number("call", "delta"), "no column 'delta'; it has dataset, threshold, upper, sigma"),
        ({}, number("class_share", "synergistic"), "0 values of 'share' where one was expected"),
    ],
)
def test_what_cannot_be_measured_says_why(made, asked, reason, tmp_path):
    with pytest.raises(NotMeasured, match=reason):
        measure(make_run(tmp_path, **made), asked)


def test_the_table_says_of_every_number_what_it_is_or_why_not(tmp_path):
    run = make_run(tmp_path, silent=("deep",))
    (run.folder / "tables" / "interaction_call.csv").unlink()
    asked = [
        number("singles", value=3), number("doubles", value=5),
        number("class_share", "buffering", 2.46, tolerance=0.05, unit="%"),
        number("held_out_common", value=24), number("call", "upper", 0.2),
    ]  # fmt: skip
    rows = compare(run, asked)
    assert [row.agrees for row in rows] == ["yes", "no", "yes", "not measured", "not measured"]
    assert [row.difference for row in rows[:3]] == [0, -1, pytest.approx(0.04)]
    assert all(row.reason for row in rows[3:])
    write_rows(rows, run.folder, "A title")
    table = pd.read_csv(run.folder / "reproduction.csv")
    assert list(table["published"]) == [3, 5, 2.46, 24, 0.2]
    page = (run.folder / "reproduction.md").read_text(encoding="utf-8")
    assert "| Fig. 1 | norman | doubles | 5 | 4 | -1 | a test |" in page
    assert "| Fig. 1 | norman | class_share buffering | 2.46% | 2.5% | +0.04% | a test |" in page
    assert "- norman call upper not measured: the run has no table 'interaction_call'" in page


def test_the_title_says_that_the_demo_cannot_agree():
    benchmark = read_benchmark(published_file(PAPER))
    assert title_of(benchmark, "x", demo=True).startswith("DEMO, simulated data")
    assert "DEMO" not in title_of(benchmark, "x", demo=False)
