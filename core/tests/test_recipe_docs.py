"""The page on recipes describes every key, and no other."""

import re
from pathlib import Path

import pytest
from pertharness.host import recipe as recipes
from pertharness.host.splits import KINDS

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = {
    "At the top": recipes.Recipe, "[datasets.NAME]": recipes.DatasetChoice, "[[tasks]]": recipes.TaskChoice,
    "split": recipes.SplitChoice, "[[predictions]]": recipes.PredictionChoice,
    "[environments]": recipes.EnvironmentChoice, "[comparison]": recipes.ComparisonChoice,
    "[resources]": recipes.Resources,
}  # fmt: skip


def sections(page):
    return {text.split("\n")[0].strip("` "): text for text in page.split("\n## ")[1:]}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_described_under_its_table(heading):
    text = sections((DOCS / "recipe.md").read_text(encoding="utf-8"))[heading]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(SECTIONS[heading].model_fields)


def test_no_section_describes_a_table_that_is_not_there():
    assert set(sections((DOCS / "recipe.md").read_text(encoding="utf-8"))) == set(SECTIONS)


def test_the_recipe_on_the_page_is_right():
    page = (DOCS / "recipe.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(recipes.parse_recipe(block, "recipe.md", Path()).tasks) == 2


def test_every_split_kind_is_described_with_its_variants_and_parameters():
    page = (DOCS / "splits.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        assert re.findall(r"`([^`]+)`", row)[1:] == [*kind.variants, *kind.params, *filter(None, [kind.task])]
