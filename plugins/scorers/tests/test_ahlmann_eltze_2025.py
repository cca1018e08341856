"""The benchmark of Ahlmann-Eltze, Huber & Anders 2025: recipes that state its protocol, numbers with their sources."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pertharness_scorers
import pytest
from pertharness.host.recipe import demo_recipe, read_recipe
from pertharness.host.reproduce.measure import QUANTITIES
from pertharness.host.reproduce.published import read_numbers
from pertharness.host.run.recipes import Choices, choose_recipe
from pertharness.host.splits import Labelled, make_split
from pertharness_scorers.benchmarks import AHLMANN_ELTZE_2025
from pertharness_scorers.interactions import call_interactions

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
    assert double.comparison.bootstrap == "rows"
    assert not double.left_out
    assert "interactions[stack=5]" in {spec.text() for spec in double.scorers}


def test_the_recipe_of_the_singles_states_the_published_protocol():
    single = recipe("single")
    models = {spec.text() for spec in single.models}
    assert models > DEEP_OF_SINGLES | {"no_change", "mean", "linear", "linear[G=embed:scgpt]"}
    assert single.left_out.keys() == {"cpa", "scfoundation"}
    assert single.seeds == (1, 2)
    assert single.comparison.bootstrap == "rows"
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


def test_all_methods_of_the_article_are_named():
    methods = DEEP_OF_DOUBLES | {"no_change", "additive", "linear", "mean"}
    named = {short: {spec.name for spec in recipe(short).models} for short in ("double", "single")}
    assert named["double"] | named["single"] == methods
    assert DEEP_OF_DOUBLES - named["single"] == recipe("single").left_out.keys()


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
    "norman-z2-lower": lambda printed, _: printed["z2"][0],
    "norman-z2-upper": lambda printed, _: printed["z2"][1],
    "norman-above": lambda printed, _: printed["n_above_upper"],
    "norman-below": lambda printed, _: printed["n_below_lower"],
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
    named = {name for name, number in numbers.items() if number.source.startswith("rendered notebook at")}
    assert named <= set(NOTEBOOK)


@pytest.mark.parametrize(("dataset", "n_singles"), [("adamson", 81), ("replogle_k562", 1087), ("replogle_rpe1", 1534)])
def test_the_recipe_splits_as_many_singles_into_the_printed_sizes(dataset, n_singles):
    (task,) = [task for task in recipe("single").tasks if task.dataset == dataset]
    labels = [Labelled("control", "ctrl"), *(Labelled(f"G{i}", f"G{i}+ctrl") for i in range(n_singles))]
    for seed in recipe("single").seeds:
        split = make_split(labels, kind=task.split.kind, variant=task.split.variant, seed=seed)
        sizes = {part: sum(label != "control" for label in getattr(split, part)) for part in ("train", "val", "test")}
        printed = {n.column: n.value for n in NUMBERS if (n.dataset, n.quantity) == (dataset, "split_size")}
        assert sizes == printed


@pytest.mark.reference
def test_rounding_of_means_to_float32_stays_within_the_tolerances():
    path = REFERENCE / "locfdr_paper_124k.npz"
    if not path.exists():
        pytest.skip(f"no {path.name} in {REFERENCE}; name the folder above it in PERTHARNESS_SHARED")
    with np.load(path) as file:
        deviation = file["zz"].reshape(124, 1000)
    tolerances = {n.column: n.tolerance for n in NUMBERS if n.quantity == "call"}
    rng, largest = np.random.default_rng(0), dict.fromkeys(tolerances, 0.0)
    control = rng.gamma(2, 0.6, 1000)
    singles = control + rng.normal(0, 0.05, (2, 124, 1000))
    for _ in range(4):
        double = singles.sum(axis=0) - control + deviation
        exact, rounded = (_call_of(singles, double, control, kind) for kind in (np.float64, np.float32))
        largest = {name: max(most, abs(exact[name] - rounded[name])) for name, most in largest.items()}
        singles = singles + rng.normal(0, 1e-3, singles.shape)
    assert all(0 <= largest[name] <= tolerance for name, tolerance in tolerances.items()), largest
    assert largest["delta"] > 5e-11  # half a unit of its last printed digit


def _call_of(singles, double, control, kind):
    """The numbers of the call of five stacked splits, for means that are kept as one kind of number."""
    singles, double, control = (values.astype(kind).astype(float) for values in (singles, double, control))
    call = call_interactions((double - (singles.sum(axis=0) - control)).ravel(), stack=5)
    local = call.thresholds["local"]
    return {
        "delta": call.delta, "sigma": call.sigma, "p0": call.p0, "upper": local.upper, "lower": local.lower,
        "n_above": local.n_above, "n_below": local.n_below, "z2_lower": call.z2[0], "z2_upper": call.z2[1],
    }  # fmt: skip
