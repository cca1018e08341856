"""What the recipes of the published benchmark name is on the cards of the plugins here."""

import json
import subprocess
import sys
from pathlib import Path

import pertharness_scorers
import pytest
from pertharness.host.recipe import read_recipe
from pertharness_scorers.benchmarks import AHLMANN_ELTZE_2025

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pertharness_scorers.__file__).parent
# In a process of its own, because it imports every plugin; their cards load without upstream's packages.
OFFERED = """
import importlib, json, sys
from pathlib import Path
packages = sorted(Path(sys.argv[1]).glob("plugins/*/src/pertharness_*/__init__.py"))
sys.path[:0] = [str(package.parents[1]) for package in packages]
modules = [importlib.import_module(package.parent.name) for package in packages]
cards = [module.describe() for module in modules if hasattr(module, "describe")]
kinds = ("models", "embeddings", "scorers")
print(json.dumps({kind: sorted(offer.name for card in cards for offer in getattr(card, kind)) for kind in kinds}))
"""


@pytest.fixture(scope="module")
def offered() -> dict[str, list[str]]:
    command = [sys.executable, "-c", OFFERED, str(ROOT)]
    offers: dict[str, list[str]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return offers


@pytest.mark.parametrize("short", list(AHLMANN_ELTZE_2025.recipes))
def test_every_name_of_a_recipe_is_offered(short: str, offered: dict[str, list[str]]) -> None:
    recipe = read_recipe(PACKAGE / AHLMANN_ELTZE_2025.recipes[short])
    models, scorers = recipe.models or (), recipe.scorers or ()
    assert {spec.name for spec in models} | recipe.left_out.keys() <= set(offered["models"])
    assert {made.name for spec in models for made in spec.embeddings} <= set(offered["embeddings"])
    assert {spec.name for spec in scorers} <= set(offered["scorers"])
