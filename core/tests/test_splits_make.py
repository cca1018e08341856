"""What is asked of a split, and what every split is checked for."""

import json

import pytest
from pertharness.contract.errors import SplitError
from pertharness.host.splits import Labelled, make_split, read_split, split_hash, write_split
from pertharness.host.splits.split import Parts, build_split

LABELS = [Labelled("control", "ctrl"), *(Labelled(name, f"{name}+ctrl") for name in "ABCDEFGH")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "doubel"}, "no split kind 'doubel'; did you mean 'double'"),
        ({"kind": "unseen", "variant": "single"}, "no variant 'single'; did you mean 'singles'"),
        ({"kind": "all", "variant": "singles"}, "no variant 'singles'; none is available"),
        ({"kind": "unseen", "params": {"fold": 3}}, "no parameter 'fold'; did you mean 'folds'"),
        ({"kind": "double", "params": {"folds": 3}}, "no parameter 'folds'; none is available"),
        ({"kind": "unseen", "params": {"folds": 1}}, "folds = 1: expected a whole number from 2"),
        ({"kind": "unseen", "params": {"folds": 2.0}}, "folds = 2.0: expected a whole number"),
        ({"kind": "unseen", "params": {"folds": True}}, "folds = True"),
        ({"kind": "simulation", "params": {"train_gene_set_size": 75}}, "expected a number from 0.0 to 1.0"),
        ({"kind": "simulation", "seed": -1}, "seed -1 of split kind 'simulation' is out of range"),
        ({"kind": "simulation", "seed": 2**32}, "out of range"),
        ({"kind": "simulation", "seed": 1.0}, "seed 1.0"),
    ],
)
def test_a_wrong_request_is_refused_with_the_value(asked, said):
    with pytest.raises(SplitError, match=said):
        make_split(LABELS, **{"seed": 1, **asked})


def test_labels_have_a_control_and_no_repeats():
    with pytest.raises(SplitError, match="no 'control' among the 8"):
        make_split(LABELS[1:], kind="unseen", seed=1)
    with pytest.raises(SplitError, match="duplicate perturbation 'A'"):
        make_split([*LABELS, Labelled("A", "ctrl+A")], kind="unseen", seed=1)


ABC = [Labelled("control", "control"), Labelled("A", "A"), Labelled("B", "B")]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (Parts(["control", "A"], ["A"], ["B"]), "'A' is in train and in val"),
        (Parts(["control"], [], ["B", "A", "B"]), "duplicate 'B' in test"),
        (Parts(["control", "A", "Z"], [], ["B"]), "'Z' of train is not in the data"),
        (Parts(["A"], [], ["control", "B"]), "'control' is in test"),
        (Parts(["A"], [], ["B"]), "'control' is in no part"),
        (Parts(["control", "A", "B"], [], []), "no perturbation is left for test"),
        (Parts(["control"], [], ["B"]), "'A' is in no part and is not dropped"),
        (Parts(["control", "A"], [], ["B"], dropped={"A": "why"}), "'A' is in train and dropped"),
    ],
)
def test_parts_that_are_no_split_are_refused(parts, said):
    with pytest.raises(SplitError, match=said):
        build_split(ABC, parts, kind="any")


def test_the_split_that_holds_nothing_out_is_a_json_like_the_others_and_no_file_of_a_benchmark(tmp_path):
    split = make_split(LABELS[::-1], kind="all", seed=0, dataset="screen")
    assert split.train == ["control", *"ABCDEFGH"]
    assert split.val == split.test == []
    assert split.hash == make_split(LABELS, kind="all", seed=0).hash
    write_split(split, tmp_path / "split.json")
    assert json.loads((tmp_path / "split.json").read_text())["kind"] == "all"
    with pytest.raises(SplitError, match="no perturbation is left for test"):
        read_split(tmp_path / "split.json", LABELS)


def test_the_hash_covers_all_but_the_name_of_the_dataset():
    split = make_split(LABELS, kind="unseen", seed=1, dataset="one")
    assert split.hash == split_hash(split.model_dump())
    assert make_split(LABELS, kind="unseen", seed=1, dataset="two").hash == split.hash
    assert make_split(LABELS, kind="unseen", seed=2).hash != split.hash
    assert make_split(LABELS, kind="unseen", seed=1, params={"folds": 4}).hash != split.hash
