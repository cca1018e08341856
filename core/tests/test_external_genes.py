"""The columns of a file of predictions: whatever names the genes, none is taken for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pertharness.contract.errors import DataError
from pertharness.worker.external.file import FileChoices, PredictionFile
from pertharness.worker.external.genes import find_columns

GENES = pd.Index(["GATA1", "MYC", "TP53", "C1orf112", "CD4"])
IDS = {f"ENSG{i:011d}": gene for i, gene in enumerate(GENES)}
ORDER = ["CD4", "MYC", "GATA1", "C1orf112", "TP53"]
PLACE = [2, 1, 4, 3, 0]


def given(names: list[object], **columns: object) -> PredictionFile:
    var = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    return PredictionFile(Path("p.h5ad"), "X", np.zeros((1, len(names))), pd.DataFrame(index=["0"]), var)


def find(file: PredictionFile, column: str | None = None) -> tuple[list[int], str]:
    columns = find_columns(file, GENES, IDS, FileChoices(gene_column=column))
    return columns.positions.tolist(), columns.note


NUMBERS: list[object] = ["0", "1", "2", "3", "4"]
ID_OF = {gene: name for name, gene in IDS.items()}


@pytest.mark.parametrize(
    ("file", "note"),
    [
        (given([*ORDER]), ""),
        (given(NUMBERS, gene_names=ORDER), "the genes are named by var['gene_names']: 5 of 5"),
        (given(NUMBERS, of_mine=pd.Categorical(ORDER)), "var['of_mine']"),
        (given([ID_OF[gene] for gene in ORDER]), "found by their ids in var_names"),
        (given([f"{ID_OF[gene]}.4" for gene in ORDER]), "found by their ids in var_names"),
        (given(NUMBERS, gene_ids=[ID_OF[gene] for gene in ORDER]), "found by their ids in var['gene_ids']"),
        (given([gene.lower() for gene in ORDER]), "var_names, upper and lower case aside"),
        (given(NUMBERS, symbol=[gene.lower() for gene in ORDER]), "var['symbol'], upper and lower case aside: 5 of 5"),
        (given([f"{gene}_{ID_OF[gene]}" for gene in ORDER]), "var_names in another form"),
        (given([f"GRCh38_{gene}" for gene in ORDER]), "var_names in another form"),
        (given([f" {gene}" for gene in ORDER]), ""),
    ],
)
def test_genes_are_found_wherever_and_however_they_are_named(file: PredictionFile, note: str) -> None:
    place, said = find(file)
    assert place == PLACE
    assert note in said
    assert bool(note) == bool(said)


def test_var_names_are_taken_before_a_column_that_has_hardly_more(tmp_path: Path) -> None:
    """Three of five genes by their names, five by the column."""
    file = given(["GATA1", "MYC", "TP53", "x", "y"], other=["MYC", "GATA1", "CD4", "TP53", "C1orf112"])
    assert find(file) == ([0, 1, 2, -1, -1], "")
    assert find(file, "other")[0] == [1, 0, 3, 4, 2]
    few = given(["GATA1", "1", "2", "x", "y"], other=["MYC", "GATA1", "CD4", "TP53", "C1orf112"])
    assert find(few)[0] == [1, 0, 3, 4, 2]
    assert find(few, "index")[0] == [0, -1, -1, -1, -1]


def test_columns_that_name_other_genes_are_asked_for() -> None:
    file = given(NUMBERS, symbol=ORDER, alias=ORDER[::-1])
    with pytest.raises(DataError, match=r"var\['symbol'\] and var\['alias'\] both.*--prediction-gene-column"):
        find(file)
    assert find(file, "symbol")[0] == PLACE
    # Another column with the same names, or with the ids of the same genes, is no doubt.
    assert find(given(NUMBERS, symbol=ORDER, ids=[ID_OF[gene] for gene in ORDER]))[0] == PLACE


def test_names_that_are_alike_but_for_case_are_not_taken_for_each_other() -> None:
    genes = pd.Index(["Abc", "ABC", "Def"])
    file = given(["abc", "def"])
    columns = find_columns(file, genes, {}, FileChoices())
    assert columns.positions.tolist() == [-1, -1, 1]


def test_a_gene_that_is_there_twice_is_refused_and_others_are_not() -> None:
    with pytest.raises(DataError, match=r"duplicate gene 'MYC' in var_names.*--prediction-gene-column"):
        find(given(["GATA1", "MYC", "MYC"]))
    assert find(given(["GATA1", "MYC", "x", "x"]))[0] == [0, 1, -1, -1, -1]


@pytest.mark.parametrize(
    "names", [[f"{ID_OF['GATA1']}.1", ID_OF["MYC"], f"{ID_OF['GATA1']}.2"], ["gata1", "myc", "Gata1"]]
)
def test_a_gene_that_is_there_by_two_names_is_refused_with_both(names: list[object]) -> None:
    with pytest.raises(DataError, match=rf"duplicate gene 'GATA1' in var_names \('{names[0]}' and '{names[2]}'\)"):
        find(given(names))


def test_a_column_alike_but_for_case_is_no_second_one_of_a_gene_that_is_there_as_it_stands() -> None:
    assert find(given(["GATA1", "MYC", "Gata1"]))[0] == [0, 1, -1, -1, -1]


def test_genes_of_both_sides_stand_in_the_error() -> None:
    with pytest.raises(DataError, match=r"\['GATA1', 'MYC', 'TP53'\].*its own, var_names, are 'Gfi1', 'Runx2'.*'chr'"):
        find(given(["Gfi1", "Runx2"], chr=["1", "2"]))
    with pytest.raises(DataError, match=r"var\['chr'\], are '1', '2'"):
        find(given(["GATA1", "MYC"], chr=["1", "2"]), "chr")
    with pytest.raises(DataError, match=r"numbers: the file does not name its genes.*var has no columns"):
        find(given(NUMBERS))
