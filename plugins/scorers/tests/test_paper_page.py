"""The page on the paper's figures has every published number, every scorer of the recipes and every model's files."""

import re
from pathlib import Path

import pertharness_scorers
import pytest
from pertharness.host.recipe import read_recipe
from pertharness.host.reproduce.published import read_numbers
from pertharness_scorers.benchmarks import AHLMANN_ELTZE_2025

PACKAGE = Path(pertharness_scorers.__file__).parent
PAGE = (Path(__file__).parents[3] / "docs" / "paper.md").read_text(encoding="utf-8")
NUMBERS = read_numbers(PACKAGE / AHLMANN_ELTZE_2025.numbers)
RECIPES = [read_recipe(PACKAGE / file) for file in AHLMANN_ELTZE_2025.recipes.values()]
CODE = re.compile(r"`([^`]+)`")


def table(heading):
    """The rows of the table under a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[1:] if not line.startswith("|---")]


FILES = {CODE.findall(row[0])[0] for row in table("Files")}


def shown(number):
    """What the page says of a number, as in the CSV file: all but where it comes from and what is known of it."""
    measured = " ".join(f"`{part}`" for part in (number.quantity, number.column) if part)
    return [number.id, number.figure, f"{number.value:.12g}{' %' * bool(number.unit)}", measured]


def test_every_published_number_is_on_the_page_as_it_is_published():
    assert [row[:4] for row in table("Numbers")] == [shown(number) for number in NUMBERS]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.id)
def test_a_number_says_which_files_it_waits_for(number):
    row = next(row for row in table("Numbers") if row[0] == number.id)
    named = set(CODE.findall(row[5]))
    assert named <= FILES
    assert number.dataset in named or row[5] == "nothing"
    if number.quantity in ("held_out_common", "answered_by_all"):
        (task,) = [task for recipe in RECIPES for task in recipe.tasks if task.dataset == number.dataset]
        assert named - {number.dataset} == FILES.intersection(task.common_set)


def test_every_model_of_the_recipes_that_needs_files_is_among_them():
    built_in = {"no_change", "additive", "mean", "linear", "cpa"}
    assert {spec.name for recipe in RECIPES for spec in recipe.models} - built_in <= FILES
    assert {name for recipe in RECIPES for name in recipe.datasets} <= FILES


def test_the_panels_have_what_the_recipes_score_and_no_score_that_nobody_offers():
    offers = pertharness_scorers.describe().scorers
    scored = {spec.name for recipe in RECIPES for spec in recipe.scorers}
    ids = {one.id for offer in offers for one in offer.metrics} | {one.name for offer in offers for one in offer.tables}
    named = {name for row in table("Panels") for name in CODE.findall(row[2])}
    assert named - {"costs.csv", "pertharness data info"} <= ids
    for offer in offers:
        if offer.name in scored - {"pearson"}:  # of which the article shows nothing but a value in Fig. 1b
            assert named & ({one.id for one in offer.metrics} | {one.name for one in offer.tables}), offer.name
    assert {name for row in table("Panels") for name in CODE.findall(row[3])} <= FILES


def test_the_page_says_that_nothing_is_reproduced_yet():
    assert "published numbers not yet reproduced" in PAGE
