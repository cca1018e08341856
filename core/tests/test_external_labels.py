"""The rows of a file of predictions: its labels are read as those of the screen, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL
from pertharness.data.stored import Stored
from pertharness.datasets.h5ad import canonical_dataset
from pertharness.datasets.options import FileOptions
from pertharness.worker.external.file import FileChoices, PredictionFile
from pertharness.worker.external.labels import DataLabels, LabelReader
from pertharness.worker.external.rows import find_rows

GENES = ["GATA1", "MYC", "TP53", "NKX2-1", "HLA-A", "IRF4", *[f"X{i}" for i in range(20)]]
IDS = {gene: f"ENSG{i:011d}" for i, gene in enumerate(GENES)}
PERTURBATIONS = ["control", "GATA1", "MYC", "TP53", "NKX2-1", "HLA-A", "IRF4", "GATA1+MYC", "IRF4+TP53", "MYC+TP53"]


def spelt(each: Callable[[str], str], control: str = "control", join: str = "+") -> list[str]:
    return [control if p == CONTROL else join.join(map(each, p.split("+"))) for p in PERTURBATIONS for _ in range(2)]


def reversed_every_second(labels: list[str], join: str) -> list[str]:
    return [join.join(label.split(join)[::-1]) if i % 2 else label for i, label in enumerate(labels)]


def guides(suffix: str, join: str = "+") -> list[str]:
    """Two guides of each gene, one per row."""
    return [
        p if p == CONTROL else join.join(f"{gene}{suffix}{i}" for gene in p.split("+"))
        for p in PERTURBATIONS
        for i in (1, 2)
    ]


ODD = {"control": "water", "GATA1": "drug (A+B)", "GATA1+MYC": "both"}
SCREENS: dict[str, tuple[list[str], dict[str, object]]] = {
    "plain": (spelt(str), {}),
    "control partner": ([x if "+" in x or x == CONTROL else f"ctrl+{x}" for x in spelt(str)], {}),
    "underscore": (spelt(str, "non-targeting", "_"), {}),
    "two bars": (spelt(str, "NTC", "||"), {}),
    "any order": (reversed_every_second(spelt(str, "ctrl", "_"), "_"), {"merge_labels": True}),
    "guides by number": (guides("-"), {}),
    "guides by letter g": (guides("g"), {}),
    "guides by dot": (guides(".", "|"), {}),
    "guides apart": (guides("-"), {"guides": "separate"}),
    "no guides": (guides("-"), {"guides": "none"}),
    "of the whole library": (spelt("{}_KO".format), {}),
    "numbered controls": (
        [f"INTERGENIC{i}" if label == CONTROL else label for i, label in enumerate(spelt(str))],
        {"control_label": "INTERGENIC*"},
    ),
    "white space": ([f" {x}" if i % 2 else f"{x}\u00a0" for i, x in enumerate(spelt(str))], {}),
    "not assigned": ([*spelt(str)[:-1], "nan"], {}),
    "a label map": (
        [ODD.get(label, label) for label in spelt(str)],
        {"label_map": {"water": "control", "drug (A+B)": "GATA1", "both": "GATA1+MYC"}},
    ),
    "no separator": (
        [ODD.get(label, label) for label in spelt(str, join="/")],
        {"separator": "none", "control_label": "water"},
    ),
    "ids": (spelt(IDS.__getitem__, "ctrl", "_"), {}),
    "ids with version": (spelt(lambda gene: f"{IDS[gene]}.7"), {}),
}  # fmt: skip


def screen(labels: list[str], params: dict[str, object]) -> pd.DataFrame:
    """Return ``obs`` of the dataset that is made of a screen with these labels, by the names of its rows, and genes."""
    obs = pd.DataFrame({"condition": labels}, index=[f"cell{i}" for i in range(len(labels))])
    var = pd.DataFrame({"ensembl_id": [IDS[gene] for gene in GENES]}, index=GENES)
    values = np.random.default_rng(0).gamma(0.5, 1.0, (len(labels), len(GENES)))
    values = np.log1p(values / values.sum(axis=1, keepdims=True) * 1e4)
    dataset = canonical_dataset(Stored(values, obs, var, {}), "screen", "test", FileOptions(**params))  # type: ignore[arg-type]
    return dataset.obs


def data_labels(obs: pd.DataFrame, params: dict[str, object]) -> DataLabels:
    """Return what a split says of a dataset."""
    spellings = dict(zip(obs["label_given"].astype(str), obs["perturbation"].astype(str), strict=True))
    return DataLabels.of(
        {label: perturbation for label, perturbation in spellings.items() if label != perturbation},
        set(spellings.values()), set(GENES), {name: gene for gene, name in IDS.items()}, params,
    )  # fmt: skip


@pytest.mark.parametrize("name", SCREENS)
def test_the_labels_of_a_screen_mean_the_same_in_predictions(name: str) -> None:
    labels, params = SCREENS[name]
    obs = screen(labels, params)
    reader = LabelReader(data_labels(obs, params))
    meanings = reader.read_all(dict.fromkeys(labels))
    for row, label in zip(obs.index, obs["perturbation"], strict=True):
        given = labels[int(row.removeprefix("cell"))]
        assert meanings[given] == label, given
    left_out = {label for i, label in enumerate(labels) if f"cell{i}" not in obs.index}
    assert {meanings[label] for label in left_out} <= {None}
    assert len(set(meanings.values()) - {None}) == obs["perturbation"].nunique() > 9


PLAIN = data_labels(screen(spelt(str), {}), {})


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("GATA1", "GATA1"), ("MYC+GATA1", "GATA1+MYC"), ("GATA1_MYC", "GATA1+MYC"), ("MYC|GATA1", "GATA1+MYC"),
        ("MYC_ctrl", "MYC"), ("ctrl+MYC", "MYC"), ("MYC + GATA1", "GATA1+MYC"), ("gata1", "GATA1"),
        ("ENSG00000000001.2", "MYC"), ("ENSG00000000001_ENSG00000000000", "GATA1+MYC"), ("NKX2-1", "NKX2-1"),
        ("non-targeting", CONTROL), ("NTC_3", CONTROL), ("ctrl", CONTROL), ("ctrl+ctrl", CONTROL), ("nan", None),
        ("unassigned", None), ("GATA1_TP53", None), ("SOX2", None), ("", None), ("_", None),
        ("GATA1+TP53", "GATA1+TP53"),  # as the dataset would call it, which has it not
    ],
)  # fmt: skip
def test_spellings_of_other_programs_are_read_by_what_the_dataset_has(label: str, expected: str | None) -> None:
    assert LabelReader(PLAIN).read(label) == expected


def test_a_separator_that_is_said_to_be_none_joins_nothing() -> None:
    data = DataLabels.of({}, PLAIN.perturbations, PLAIN.genes, {}, {"separator": "none"})
    assert [LabelReader(data).read(label) for label in ("GATA1_MYC", "MYC+GATA1", "MYC")] == [None, None, "MYC"]


def test_the_separator_of_the_screen_joins_and_the_form_of_the_harness_is_read_beside_it() -> None:
    data = DataLabels.of({}, PLAIN.perturbations, PLAIN.genes, {}, {"separator": "_"})
    labels = ("MYC_GATA1", "MYC+GATA1", "MYC|GATA1")
    assert [LabelReader(data).read(label) for label in labels] == ["GATA1+MYC", "GATA1+MYC", None]


@pytest.mark.parametrize("join", ["-", ".", " "])
def test_a_separator_that_is_part_of_most_names_joins_in_any_order_where_it_does_in_the_screen(join: str) -> None:
    labels = spelt(lambda gene: {"NKX2-1": "X1", "HLA-A": "X2"}.get(gene, gene), join=join)
    reader = LabelReader(data_labels(screen(labels, {}), {}))
    assert reader.read_all([f"MYC{join}GATA1", f"TP53{join}MYC", f"GATA1{join}TP53", f"TP53{join}ctrl"]) == {
        f"MYC{join}GATA1": "GATA1+MYC", f"TP53{join}MYC": "MYC+TP53", f"GATA1{join}TP53": None,
        f"TP53{join}ctrl": "TP53",
    }  # fmt: skip
    assert LabelReader(PLAIN).read(f"MYC{join}GATA1") is None


def test_guides_in_predictions_alone_are_read_where_most_labels_are_such() -> None:
    reader = LabelReader(PLAIN)
    assert reader.read_all(["GATA1-1", "MYC-2", "TP53-1"]) == {"GATA1-1": "GATA1", "MYC-2": "MYC", "TP53-1": "TP53"}
    assert reader.read_all(["GATA1-1", "SOX2", "KLF4"])["GATA1-1"] is None
    apart = DataLabels.of({}, PLAIN.perturbations, PLAIN.genes, {}, {"guides": "none"})
    assert LabelReader(apart).read_all(["GATA1-1", "MYC-2"]) == {"GATA1-1": None, "MYC-2": None}


def file_with(obs: pd.DataFrame, tmp_path: Path) -> PredictionFile:
    return PredictionFile(tmp_path / "p.h5ad", "X", np.zeros((len(obs), 2)), obs, pd.DataFrame(index=["A", "B"]))


def rows(obs: pd.DataFrame, tmp_path: Path, column: str | None = None) -> tuple[dict[str, list[int]], list[str]]:
    found = find_rows(file_with(obs, tmp_path), ["MYC", "GATA1+MYC"], PLAIN, FileChoices(label_column=column))
    return {query: list(numbers) for query, numbers in found.of_query.items()}, found.notes


@pytest.mark.parametrize("column", ["condition", "target_gene", "Perturbation", "gene"])
def test_a_column_that_is_known_by_name_is_taken_and_noted(column: str, tmp_path: Path) -> None:
    obs = pd.DataFrame({"batch": ["1", "2", "3"], column: ["GATA1+MYC", "MYC", "MYC"]}, index=list("abc"))
    found, notes = rows(obs, tmp_path)
    assert found == {"MYC": [1, 2], "GATA1+MYC": [0]}
    assert notes == [f"the labels of p.h5ad are obs[{column!r}]"]


def test_the_names_of_the_rows_are_labels_where_no_column_has_them(tmp_path: Path) -> None:
    for obs in (pd.DataFrame(index=["MYC", "ctrl"]), pd.DataFrame({"gene": ["x", "y"]}, index=["MYC", "ctrl"])):
        found, notes = rows(obs, tmp_path)
        assert found == {"MYC": [0]}
        assert notes[0] == "the labels of p.h5ad are the names of its rows"
        assert notes[1] == "1 rows of p.h5ad are controls ('ctrl'): not scored"


def test_a_named_column_is_taken_without_looking_for_others(tmp_path: Path) -> None:
    obs = pd.DataFrame({"perturbation": ["GATA1+MYC", "MYC"], "mine": ["MYC", "GATA1_MYC"]}, index=["MYC", "b"])
    assert rows(obs, tmp_path, "mine")[0] == {"MYC": [0], "GATA1+MYC": [1]}
    assert rows(obs, tmp_path, "index")[0] == {"MYC": [0]}
    assert rows(obs, tmp_path)[0] == {"MYC": [1], "GATA1+MYC": [0]}


def test_columns_that_differ_are_asked_for(tmp_path: Path) -> None:
    obs = pd.DataFrame({"condition": ["MYC", "GATA1"], "target_gene": ["GATA1", "MYC"]})
    with pytest.raises(DataError, match=r"'condition', 'target_gene'\) and they differ; .*--prediction-label-column"):
        rows(obs, tmp_path)
    obs["condition"] = ["MYC", "SOX2"]
    obs["target_gene"] = ["MYC", "other"]
    assert rows(obs, tmp_path)[0] == {"MYC": [0]}


def test_labels_of_every_type_are_texts(tmp_path: Path) -> None:
    data = DataLabels.of({}, {"1", "2", "control"}, set(GENES), {}, {})
    for labels in (pd.Series([1, 2]), pd.Series([1.0, 2.0]), pd.Categorical(["1", "2"]), pd.Series(["1", "2"])):
        obs = pd.DataFrame({"perturbation": labels})
        found = find_rows(file_with(obs, tmp_path), ["1", "2"], data, FileChoices())
        assert {query: list(numbers) for query, numbers in found.of_query.items()} == {"1": [0], "2": [1]}


def test_the_labels_of_the_file_stand_beside_those_that_are_asked_for(tmp_path: Path) -> None:
    obs = pd.DataFrame({"condition": ["SOX2", "KLF4"], "pert": ["x", "y"]})
    with pytest.raises(DataError, match=r"such as \['MYC', 'GATA1\+MYC'\].*obs\['condition'\], are 'SOX2', 'KLF4'"):
        rows(obs, tmp_path)
    obs["pert"] = ["MYC", "other"]
    with pytest.raises(DataError, match=r"obs\['pert'\] has some of them: take it with --prediction-label-column pert"):
        rows(obs, tmp_path)


def test_what_is_left_aside_is_counted_and_named(tmp_path: Path) -> None:
    obs = pd.DataFrame({"perturbation": ["MYC", "NTC-1", "NTC-2", "SOX2", "SOX2", "multiplet", "MYC"]})
    found, notes = rows(obs, tmp_path)
    assert found == {"MYC": [0, 6]}
    assert notes == [
        "2 rows of p.h5ad are controls ('NTC-1', 'NTC-2'): not scored",
        "3 rows of p.h5ad ('SOX2', 'multiplet') are not held-out perturbations of this split: ignored",
    ]


def test_labels_that_are_read_otherwise_are_noted(tmp_path: Path) -> None:
    _, notes = rows(pd.DataFrame({"perturbation": ["GATA1_MYC", "MYC"]}), tmp_path)
    assert notes == ["1 labels of p.h5ad are spelt differently from the dataset: 'GATA1_MYC' is read as 'GATA1+MYC'"]


def test_many_names_of_rows_are_looked_up_as_they_stand(tmp_path: Path) -> None:
    obs = pd.DataFrame(index=["MYC", *(f"AAAC{i}-1" for i in range(60_000))])
    assert rows(obs, tmp_path)[0] == {"MYC": [0]}


def test_an_adata_in_the_form_of_the_documentation_needs_no_note(tmp_path: Path) -> None:
    adata = AnnData(np.zeros((2, 2)), obs=pd.DataFrame({"perturbation": ["MYC", "MYC+GATA1"]}, index=["0", "1"]))
    assert rows(adata.obs, tmp_path) == ({"MYC": [0], "GATA1+MYC": [1]}, [])


def test_odd_labels_that_nobody_asks_for_are_left_aside(tmp_path: Path) -> None:
    labels = ["MYC", "GATA1+MYC", "MYC+MYC", "GATA1++MYC", "GATA1+"]
    found, notes = rows(pd.DataFrame({"perturbation": labels}, index=list("abcde")), tmp_path)
    assert found == {"MYC": [0], "GATA1+MYC": [1]}
    assert notes == [
        "3 rows of p.h5ad ('MYC+MYC', 'GATA1++MYC', 'GATA1+') are not held-out perturbations of this split: ignored"
    ]


def test_a_column_that_disagrees_with_the_usual_one_is_noted(tmp_path: Path) -> None:
    obs = pd.DataFrame({"perturbation": ["MYC", "GATA1+MYC"], "condition": ["GATA1+MYC", "MYC"]}, index=list("ab"))
    found, notes = rows(obs, tmp_path)
    assert found == {"MYC": [0], "GATA1+MYC": [1]}
    assert notes[0].startswith("the labels of p.h5ad are obs['perturbation']; 'condition' of obs has other")
    assert rows(obs, tmp_path, "condition")[0] == {"MYC": [1], "GATA1+MYC": [0]}
    assert rows(obs.assign(condition=obs["perturbation"]), tmp_path)[1] == []
