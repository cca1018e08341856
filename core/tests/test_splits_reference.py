"""The published splits, to the letter; every list and seed that the reference file holds."""

import json
import os
from pathlib import Path

import pytest
from pertharness.host.splits import Labelled, make_split

pytestmark = pytest.mark.reference
ROOT = Path(__file__).parents[2]
FILE = Path(os.environ.get("PERTHARNESS_SHARED", ROOT.parent / "shared")) / "reference" / "splits.json"


@pytest.fixture(scope="module")
def reference():
    if not FILE.exists():
        pytest.skip(f"no reference file {FILE}")
    return json.loads(FILE.read_text())


def labelled(given):
    targets = [sorted(token for token in name.split("+") if token != "ctrl") for name in given]
    return [Labelled("+".join(names) or "control", name) for names, name in zip(targets, given, strict=True)]


def as_given(split, names):
    return [split.labels_given.get(name, name) for name in names]


def test_simulation_equals_gears(reference):
    for name, kinds in reference["prepare_split"].items():
        for seed, upstream in kinds.get("simulation", {}).items():
            split = make_split(labelled(reference["inputs"][name]), kind="simulation", seed=int(seed))
            for part in ("train", "val", "test"):
                assert as_given(split, getattr(split, part)) == upstream["set2conditions"].get(part, []), (name, seed)
            for part in ("val", "test"):
                for group, names in upstream["subgroup"][f"{part}_subgroup"].items():
                    ours = as_given(split, split.subgroups.get(f"{part}/{group}", []))
                    assert sorted(ours) == sorted(names), (name, seed, group)
            assert sorted(as_given(split, split.dropped)) == sorted(upstream["dropped"])


def test_simulation_of_singles_equals_the_gears_splitter_for_singles(reference):
    for name, seeds in reference["DataSplitter_simulation_single"].items():
        for seed, upstream in seeds.items():
            split = make_split(labelled(reference["inputs"][name]), kind="simulation", seed=int(seed))
            for part in ("train", "val", "test"):
                assert as_given(split, getattr(split, part)) == upstream["set2conditions"].get(part, []), (name, seed)


@pytest.mark.parametrize("variant", ["norman", "norman_from_scfoundation"])
def test_double_equals_the_published_rule(reference, variant):
    for name, rules in reference["paper_double_rules"].items():
        # Backwards: the rule sorts, so the order of the data must not matter.
        labels = labelled(rules["conditions_sorted"][::-1])
        for seed, published in rules[variant].items():
            split = make_split(labels, kind="double", seed=int(seed), variant=variant)
            for part in ("train", "val", "test"):
                assert as_given(split, getattr(split, part)) == published[part], (name, seed, part)
