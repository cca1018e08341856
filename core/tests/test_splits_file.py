"""Split files: written, read back, brought from elsewhere, and wrong."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import SplitError
from pertharness.host.splits import Labelled, make_split, read_split, write_split

GENES = "ABCDEFGH"
LABELS = [
    Labelled("control", "ctrl"), *(Labelled(name, f"ctrl+{name}") for name in GENES),
    Labelled("A+B", "B+A"), Labelled("C+D", "C+D"), Labelled("E+F", "E_F"), Labelled("G+H", "H+G"),
]  # fmt: skip


def written(tmp_path, content):
    path = tmp_path / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["double", "simulation", "unseen"])
def test_a_written_split_reads_back_the_same(tmp_path, kind):
    split = make_split(LABELS, kind=kind, seed=3, dataset="demo")
    path = tmp_path / "folder" / "split.json"
    write_split(split, path)
    assert read_split(path, LABELS, dataset="demo") == split
    assert '\n    "A' in path.read_text()


def test_a_plain_file_may_spell_labels_in_any_way(tmp_path):
    content = {"train": ["ctrl", "A+ctrl", "ctrl+B", "C", "control+D"], "val": ["C+D"], "test": ["A+B", "H+G", "E_F"]}
    split = read_split(written(tmp_path, content), LABELS)
    assert split.train == ["control", "A", "B", "C", "D"]
    assert (split.val, split.test) == (["C+D"], ["A+B", "G+H", "E+F"])
    assert (split.kind, split.labels_given["G+H"]) == ("file", "H+G")


def test_the_control_may_have_its_own_name(tmp_path):
    labels = [Labelled("control", "non-targeting"), Labelled("A", "A"), Labelled("B", "B")]
    split = read_split(written(tmp_path, {"train": ["non-targeting+A"], "test": ["B"]}), labels)
    assert (split.train, split.val, split.test) == (["control", "A"], [], ["B"])


def test_what_the_file_leaves_out_is_dropped_with_the_reason(tmp_path):
    split = read_split(written(tmp_path, {"train": ["A"], "test": ["B"]}), LABELS)
    assert split.train == ["control", "A"]
    assert set(split.dropped) == {*GENES[2:], "A+B", "C+D", "E+F", "G+H"}
    assert set(split.dropped.values()) == {"in no part of the split file"}


def test_a_split_of_ours_fits_a_larger_dataset_under_a_hash_of_its_own(tmp_path):
    split = make_split(LABELS, kind="double", seed=1)
    write_split(split, tmp_path / "split.json")
    larger = read_split(tmp_path / "split.json", [*LABELS, Labelled("new", "new")])
    assert (larger.kind, larger.seed, larger.test) == ("double", 1, split.test)
    assert list(larger.dropped) == ["new"]
    assert larger.hash != split.hash


def test_an_edited_split_is_refused_until_its_hash_is_gone(tmp_path):
    content = make_split(LABELS, kind="double", seed=1).model_dump()
    moved = content["train"].pop()
    content["test"].append(moved)
    with pytest.raises(SplitError, match=r"split\.json: hash '.*changed after it was written"):
        read_split(written(tmp_path, content), LABELS)
    del content["hash"]
    split = read_split(written(tmp_path, content), LABELS)
    assert (split.kind, moved in split.test) == ("file", True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"train": ["A"], "test": ["A", "B"]}, "'A' is in train and in test"),
        ({"train": ["A"], "test": ["B", "ctrl+B"]}, "duplicate 'B' in test"),
        ({"train": ["A"], "test": ["KLF1"]}, "'KLF1' of test is not in the data; the data have 13 perturbations"),
        ({"train": ["A"], "test": ["B+ctr"]}, "'B\\+ctr' of test is not in the data; did you mean"),
        ({"train": ["A"], "test": [""]}, "'' of test is not in the data"),
        ({"train": ["A"], "test": ["ctrl", "B"]}, "'control' is in test"),
        ({"train": ["A"], "test": []}, "no perturbation is left for test"),
        ({"train": ["A"], "tets": ["B"]}, "no list 'test'; did you mean 'tets'"),
        ({"train": "A", "test": ["B"]}, "train is 'A'; expected a list"),
        ({"train": ["A"], "test": ["B", 3]}, "test contains 3; expected the label"),
        ([["A"], ["B"]], "contains a list; expected a JSON object"),
        ('{"train": ["A"], "test"', "not JSON"),
        ('{"test": ["A"], "test": ["B"]}', "duplicate key 'test'"),
        ("[" * 100_000, "not JSON"),
        ({"format": 1, "hash": 3, "train": ["A"], "test": ["B"]}, "not a split"),
        ({"format": 2, "hash": "x", "train": ["A"], "test": ["B"]}, "format 2; this version reads format 1"),
    ],
)
def test_a_wrong_file_is_refused_by_path_and_name(tmp_path, content, said):
    with pytest.raises(SplitError, match=rf"split file .*split\.json: {said}"):
        read_split(written(tmp_path, content), LABELS)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(SplitError, match="cannot be read: No such file"):
        read_split(tmp_path / "none.json", LABELS)
    with pytest.raises(SplitError, match="cannot be read"):
        read_split(tmp_path, LABELS)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SplitError, match="not JSON"):
        read_split(tmp_path / "binary", LABELS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([x.label_given for x in LABELS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["train", "val", "test", "hash", "format", "kind"])


@settings(max_examples=50, deadline=None)
@given(JSON | st.dictionaries(KEYS, JSON, max_size=6))
def test_any_json_is_a_split_or_a_split_error(tmp_path_factory, content):
    path = written(tmp_path_factory.getbasetemp(), content)
    try:
        assert read_split(path, LABELS).test
    except SplitError as error:
        assert str(path) in str(error)
