"""The benchmark of Ahlmann-Eltze, Huber & Anders 2025: recipes that state its protocol, numbers with their sources."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pertharness_scorers
import pytest
from pertharness.host.recipe import demo_recipe, read_recipe
from pertharness.host.reproduce.measure import QUANTITIES
from pertharness.host.reproduce.published import read_numbers
from pertharness.host.run.recipes import Choices, choose_recipe
from pertharness_scorers.benchmarks import AHLMANN_ELTZE_2025

ROOT = Path(__file__).parents[3]
PAPER = "ahlmann-eltze-2025"
REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", ROOT.parent / "shared")) / "reference"
PACKAGE = Path(pertharness_scorers.__file__).parent
NUMBERS = read_numbers(PACKAGE / AHLMANN_ELTZE_2025.numbers)
DEEP_OF_DOUBLES = {"gears", "scgpt", "scfoundation", "cpa", "geneformer", "uce", "scbert"}
DEEP_OF_SINGLES = {"gears", "scgpt", "uce", "scbert", "geneformer"}


def recipe(short):
    return read_recipe(PACKAGE / AHLMANN_ELTZE_2025.recipes[short])


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


def test_models_that_an_option_leaves_out_do_not_narrow_the_comparison():
    narrowed = choose_recipe(
        PACKAGE / AHLMANN_ELTZE_2025.recipes["double"], Choices(demo=True, models="additive,mean", seeds="2")
    )
    (task,) = narrowed.tasks
    assert (narrowed.seeds, task.common_set, task.reference) == ((2,), ("additive",), "additive")


@pytest.mark.parametrize("short", ["double", "single"])
def test_a_recipe_has_the_name_of_its_file(short):
    assert recipe(short).name == Path(AHLMANN_ELTZE_2025.recipes[short]).stem == f"{PAPER}-{short}"
    assert demo_recipe(recipe(short)).name == f"{PAPER}-{short}-demo"


def test_a_wheel_holds_recipes_and_numbers(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "plugins" / "scorers", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    files = {*AHLMANN_ELTZE_2025.recipes.values(), AHLMANN_ELTZE_2025.numbers}
    assert {f"pertharness_scorers/{file}" for file in files} <= set(zipfile.ZipFile(wheel).namelist())


def test_every_published_number_has_a_source_and_can_be_measured():
    assert len({number.id for number in NUMBERS}) == len(NUMBERS) > 0
    for number in NUMBERS:
        assert number.quantity in QUANTITIES
        assert number.source
        assert number.dataset in recipe(number.recipe).datasets


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
    ours = {number.id: number.value for number in NUMBERS}
    assert {name: ours[name] for name in NOTEBOOK} == {name: find(printed, null) for name, find in NOTEBOOK.items()}
    # What it counts over all stacked splits, each of the same doubles and genes.
    splits = ours["norman-splits"]
    assert printed["n_above_upper"] + printed["n_below_lower"] == splits * ours["norman-outside-notebook"]
    assert printed["N"] == splits * ours["norman-entries"]


def test_notebook_numbers_name_the_notebook_as_their_source():
    numbers = {number.id: number for number in NUMBERS}
    assert set(NOTEBOOK) <= set(numbers)
    named = {name for name, number in numbers.items() if "rendered notebook" in number.source}
    assert named <= set(NOTEBOOK)
