"""Labels: any spelling of the same targets gives one canonical label; what is unclear is asked, with the flag."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.datasets.labelling import CONTROL_WORDS, find_labelling
from pertharness.datasets.options import FileOptions
from pertharness.errors import DataError
from pertharness.labels import join_targets

GENES = ("KLF1", "CEBPE", "HLA-A", "NKX2-1", "TP53", "MIR17HG")
CONTROLS = ("ctrl", "control", "Control", "non-targeting", "non_targeting", "NT", "NTC", "safe-targeting", "CTRL")


def mapping_of(labels: list[str], genes: tuple[str, ...] = GENES, **options: object) -> dict[str, str]:
    obs = pd.DataFrame({"condition": pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))])
    return find_labelling(obs, genes, FileOptions(**options)).mapping  # type: ignore[arg-type]


def message_of(labels: list[str], **options: object) -> str:
    with pytest.raises(DataError) as error:
        mapping_of(labels, **options)
    return str(error.value)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_spelling_of_the_same_targets_gives_the_same_label(data: st.DataObject) -> None:
    control = data.draw(st.sampled_from(CONTROLS))
    separator = data.draw(st.sampled_from(["+", "_", "|", ";"]))
    # A control that holds the separator is a label, but cannot be a part of one.
    part = "ctrl" if separator in control else control
    some_targets = st.frozensets(st.sampled_from(GENES), min_size=1, max_size=3)
    perturbations = data.draw(st.lists(some_targets, min_size=2, unique=True))
    spelt: dict[str, str] = {control: "control"}
    for targets in perturbations:
        parts = data.draw(st.permutations(sorted(targets)))
        if len(parts) == 1:
            parts = data.draw(st.sampled_from([parts, [*parts, part], [part, *parts]]))
        spaces = data.draw(st.sampled_from(["", " "])) if len(parts) > 1 else ""
        spelt[f"{spaces}{separator}{spaces}".join(parts)] = join_targets(targets)
    assert mapping_of(list(spelt)) == spelt


@pytest.mark.parametrize("control", CONTROLS)
def test_every_usual_control_is_found(control: str) -> None:
    assert mapping_of(["KLF1", control, "TP53"])[control] == "control"


def test_control_words_are_in_the_form_that_they_are_compared_in() -> None:
    assert all(word == word.lower() and not set(word) & set("-_ ") for word in CONTROL_WORDS)


def test_a_control_of_two_guides_is_the_control() -> None:
    assert mapping_of(["NT|NT", "KLF1|NT", "NT|TP53", "KLF1|TP53"]) == {
        "NT|NT": "control", "KLF1|NT": "KLF1", "NT|TP53": "TP53", "KLF1|TP53": "KLF1+TP53",
    }  # fmt: skip


def test_an_underscore_of_a_gene_name_is_kept() -> None:
    assert mapping_of(["ctrl", "HLA_A", "TP53"], ("HLA_A", "TP53"))["HLA_A"] == "HLA_A"
    assert mapping_of(["ctrl", "X_Y", "A+ctrl", "A+B"])["X_Y"] == "X_Y"


def test_an_underscore_is_a_separator_if_its_parts_are_perturbed_alone() -> None:
    assert mapping_of(["ctrl", "Q1", "Q2", "Q2_Q1"], ())["Q2_Q1"] == "Q1+Q2"


def test_flags_decide_what_the_file_leaves_open() -> None:
    labels = ["wild", "KLF1_9", "TP53"]
    assert mapping_of(labels, control_label="wild", separator="none")["KLF1_9"] == "KLF1_9"
    assert mapping_of(labels, control_label="wild", separator="_")["KLF1_9"] == "9+KLF1"


def test_no_control_names_the_labels_and_the_flag() -> None:
    message = message_of(["wild", "KLF1", "TP53"])
    assert "'wild', 'KLF1', 'TP53'" in message
    assert "--control-label" in message
    assert "'zero'" in message_of(["ctrl", "KLF1"], control_label="zero")


def test_two_controls_are_not_chosen_between() -> None:
    message = message_of(["ctrl", "non-targeting", "KLF1"])
    assert "'ctrl', 'non-targeting'" in message
    assert "--control-label" in message


def test_unclear_and_several_separators_are_refused_with_the_flag() -> None:
    message = message_of(["ctrl", "KLF1_guide1", "TP53"])
    assert "'_'" in message
    assert "'KLF1_guide1'" in message
    assert "--separator none" in message
    message = message_of(["ctrl", "KLF1", "TP53", "KLF1+TP53", "KLF1_CEBPE"])
    assert "'+', '_'" in message
    assert "--separator" in message


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [("KLF1+TP53", "TP53+KLF1", "KLF1+TP53"), ("KLF1+ctrl", "ctrl+KLF1", "KLF1"), ("KLF1", "KLF1+ctrl", "KLF1")],
)
def test_labels_that_collide_are_named_or_merged(first: str, second: str, label: str) -> None:
    labels = ["ctrl", "CEBPE+ctrl", first, second]
    message = message_of(labels)
    assert f"{first!r} and {second!r}" in message
    assert repr(label) in message
    assert "--merge-labels" in message
    merged = mapping_of(labels, merge_labels=True)
    assert merged[first] == merged[second] == label


def test_a_target_named_twice_and_an_empty_one_are_refused() -> None:
    assert "'KLF1+KLF1'" in message_of(["ctrl", "KLF1+KLF1", "TP53"])
    assert "'KLF1+'" in message_of(["ctrl", "KLF1+", "TP53"])


def test_empty_labels_are_counted_and_the_first_is_named() -> None:
    obs = pd.DataFrame({"condition": ["ctrl", None, "KLF1", ""]}, index=["a", "b", "c", "d"])
    with pytest.raises(DataError, match=r"empty in 2 rows \(first: 'b'\)"):
        find_labelling(obs, GENES, FileOptions())


def test_columns_that_agree_are_one_and_columns_that_differ_are_asked_for() -> None:
    obs = pd.DataFrame(
        {
            "gene": ["KLF1", "non-targeting", "TP53"],
            "perturbation": ["KLF1", "control", "TP53"],
            "condition": ["treated", "rest", "rest"],
        },
        index=list("abc"),
    )
    assert find_labelling(obs, GENES, FileOptions()).column == "gene"
    obs["gene"] = ["TP53", "non-targeting", "KLF1"]
    with pytest.raises(DataError, match=r"'gene', 'perturbation'\) and they differ; choose one with --label-column"):
        find_labelling(obs, GENES, FileOptions())
    assert find_labelling(obs, GENES, FileOptions(label_column="perturbation")).control == "control"


def test_a_file_without_labels_says_what_it_has() -> None:
    obs = pd.DataFrame({"leiden": ["1", "2"]}, index=["a", "b"])
    with pytest.raises(DataError, match=r"columns: 'leiden'.*--label-column.*another kind"):
        find_labelling(obs, GENES, FileOptions())
    with pytest.raises(DataError, match=r"no column 'pert' \(--label-column\); it has 'leiden'"):
        find_labelling(obs, GENES, FileOptions(label_column="pert"))
