"""Labels: any spelling of the same targets gives one canonical label; what is unclear is asked, with the flag."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import DataError
from pertharness.contract.labels import join_targets
from pertharness.datasets.controls import CONTROL_WORDS
from pertharness.datasets.labelling import Labelling, find_labelling
from pertharness.datasets.options import FileOptions

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


def labelling_of(labels: list[str], genes: tuple[str, ...] = GENES, **options: object) -> Labelling:
    obs = pd.DataFrame({"condition": pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))])
    return find_labelling(obs, genes, FileOptions(**options))  # type: ignore[arg-type]


def test_several_controls_are_pooled_and_a_choice_leaves_the_others_out() -> None:
    labels = ["ctrl", "KLF1", "non-targeting_00003", "TP53", "INTERGENIC216151"]
    pooled = labelling_of(labels)
    assert pooled.controls == ("ctrl", "non-targeting_00003", "INTERGENIC216151")
    assert [label for label, meaning in pooled.mapping.items() if meaning == "control"] == list(pooled.controls)
    chosen = labelling_of(labels, control_label="ctrl")
    assert chosen.controls == ("ctrl",)
    assert list(chosen.left_out) == ["non-targeting_00003", "INTERGENIC216151"]
    assert not {"non-targeting_00003", "INTERGENIC216151"} & chosen.mapping.keys()


def test_controls_are_named_one_by_one_or_by_patterns() -> None:
    labels = ["plate 1 wild", "KLF1", "plate 2 wild", "TP53", "rest"]
    assert labelling_of(labels, control_label=["plate*", "rest"]).controls == ("plate 1 wild", "plate 2 wild", "rest")
    assert labelling_of(labels, control_label="*wild").mapping["rest"] == "rest"
    assert labelling_of(["*", "KLF1", "TP53"], control_label="*").controls == ("*",)
    message = message_of(labels, control_label=["plate*", "idle*"])
    assert "'idle*'" in message
    assert "repeated for each" in message


def test_substitutes_are_controls_where_there_is_nothing_better() -> None:
    assert labelling_of(["AAVS1", "KLF1", "TP53"]).controls == ("AAVS1",)
    beside = labelling_of(["AAVS1", "KLF1", "NTC_1", "TP53"])
    assert beside.controls == ("NTC_1",)
    assert beside.mapping["AAVS1"] == "AAVS1"
    assert any("'AAVS1' taken as perturbations" in note for note in beside.notes)


@pytest.mark.parametrize(
    "word", ["nan", "None", "NA", "n/a", "multiplet", "Doublet", "unassigned", "Negative", "", "?"]
)
def test_texts_that_are_no_perturbation_are_left_out(word: str) -> None:
    read = labelling_of(["ctrl", "KLF1", word, "TP53"])
    assert read.left_out == {word: "no perturbation"}
    assert word not in read.mapping
    assert labelling_of(["ctrl", "KLF1", "TP53", f"TP53+{word or 'nan'}"]).mapping.keys() == {"ctrl", "KLF1", "TP53"}


def test_white_space_of_any_kind_is_no_part_of_a_name() -> None:
    labels = ["ctrl\u00a0", "KLF1", "KLF1\u00a0", "\u200bTP53 ", "TP53\u00a0+\u00a0KLF1"]
    assert list(mapping_of(labels).values()) == ["control", "KLF1", "KLF1", "TP53", "KLF1+TP53"]


def test_a_plus_inside_of_names_is_asked_for_and_taken_as_one_by_a_flag() -> None:
    labels = ["ctrl", "KLF1", "2i (LIF+MEKi+GSK3i)", "(+)-JQ1"]
    message = message_of(labels)
    assert "'2i (LIF+MEKi+GSK3i)', '(+)-JQ1'" in message
    assert "--separator none" in message
    for separator in ("none", "|"):
        read = labelling_of(labels, separator=separator)
        assert read.mapping["2i (LIF+MEKi+GSK3i)"] == "2i (LIF&MEKi&GSK3i)"
        assert any("is written '&'" in note for note in read.notes)
    assert labelling_of(["ctrl", "KLF1", "KLF1+TP53"], separator="none").mapping["KLF1+TP53"] == "KLF1&TP53"


def test_parts_of_a_plus_that_are_no_genes_are_named() -> None:
    read = labelling_of(["ctrl", "KLF1+ctrl", "ABSENT+ctrl", "KLF1+ABSENT", "CD14+ Monocyte"])
    assert read.mapping["KLF1+ABSENT"] == "ABSENT+KLF1"
    (note,) = [note for note in read.notes if "neither genes" in note]
    assert "2 parts" in note
    assert "'CD14', 'Monocyte'" in note


@pytest.mark.parametrize("separator", ["||", "__", "--", "/", ":"])
def test_longer_and_rarer_separators_are_found(separator: str) -> None:
    assert mapping_of(["ctrl", f"KLF1{separator}TP53", f"TP53{separator}ctrl"])[f"KLF1{separator}TP53"] == "KLF1+TP53"


@pytest.mark.parametrize("separator", ["-", ".", " "])
def test_a_sign_of_names_joins_targets_where_nothing_else_does(separator: str) -> None:
    labels = ["ctrl", *(label.replace("+", separator) for label in ("KLF1+ctrl", "CEBPE+ctrl", "KLF1+CEBPE", "TP53"))]
    assert list(mapping_of(labels).values()) == ["control", "KLF1", "CEBPE", "CEBPE+KLF1", "TP53"]
    # A gene of two genes may be absent from a file, and what is joined by something else is not joined by this.
    assert mapping_of(["ctrl", "KLF1", f"CEBPE{separator}KLF1"])[f"CEBPE{separator}KLF1"] == f"CEBPE{separator}KLF1"
    assert mapping_of(["ctrl", "KLF1+TP53", *labels[1:3]])[labels[1]] == labels[1]


def test_hyphens_and_dots_of_names_join_nothing() -> None:
    labels = ["ctrl", "HLA-A", "NKX2-1", "HLA-B", "H2-K1", "AC012345.1", "AC012345.2", "KLF1"]
    assert mapping_of(labels, guides="none") == {label: "control" if label == "ctrl" else label for label in labels}


def test_a_drug_of_one_dose_is_named_whole_beside_drugs_of_several() -> None:
    labels = ["DMSO", "Nutlin_5uM", "Nutlin_10uM", "JQ1_5uM"]
    assert list(mapping_of(labels).values()) == ["control", *labels[1:]]


def test_a_rare_separator_that_is_no_joint_is_part_of_names() -> None:
    assert mapping_of(["ctrl", "chr1:100", "KLF1/TP53", "KLF1/x"])["chr1:100"] == "chr1:100"
    assert mapping_of(["ctrl", "KLF1/TP53", "KLF1/x"])["KLF1/TP53"] == "KLF1/TP53"


def test_the_names_of_the_rows_may_be_the_labels() -> None:
    obs = pd.DataFrame({"n": [1, 2, 3]}, index=["NT", "KLF1", "TP53"])
    with pytest.raises(DataError, match="a control is among the values of 'index'"):
        find_labelling(obs, GENES, FileOptions())
    for name in ("index", "_index"):
        read = find_labelling(obs, GENES, FileOptions(label_column=name))
        assert read.mapping == {"NT": "control", "KLF1": "KLF1", "TP53": "TP53"}


def test_a_label_map_says_what_labels_mean_and_the_others_are_read() -> None:
    labels = ["ctrl", "odd one", "KLF1", "CD4+", "junk", "TP53+KLF1"]
    label_map = {"odd one": "TP53", "CD4+": "control", "junk": "DROP", "absent": "KLF1"}
    read = labelling_of(labels, label_map=label_map)
    assert read.mapping == {
        "ctrl": "control", "odd one": "TP53", "KLF1": "KLF1", "CD4+": "control", "TP53+KLF1": "KLF1+TP53",
    }  # fmt: skip
    assert read.left_out == {"junk": "dropped by the label map"}
    assert "the file lacks 'absent'" in read.notes[0]
    assert mapping_of(["a", "b", "c"], label_map={"a": "control", "b": "KLF1", "c": "KLF1"})["c"] == "KLF1"


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


def test_a_target_named_twice_is_one_and_an_empty_one_is_refused() -> None:
    read = labelling_of(["NT|NT", "KLF1|KLF1", "TP53|TP53", "KLF1|TP53"])
    assert list(read.mapping.values()) == ["control", "KLF1", "TP53", "KLF1+TP53"]
    assert any("name a gene twice" in note for note in read.notes)
    assert "'KLF1+'" in message_of(["ctrl", "KLF1+", "TP53"])


def test_rows_without_a_label_are_left_out() -> None:
    obs = pd.DataFrame({"condition": ["ctrl", None, "KLF1", ""]}, index=["a", "b", "c", "d"])
    read = find_labelling(obs, GENES, FileOptions())
    assert read.left_out == {"": "no perturbation"}
    assert read.mapping == {"ctrl": "control", "KLF1": "KLF1"}


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
