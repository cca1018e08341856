"""Targets by other names: looked up in the columns of the file, said, and asked for where two columns differ."""

from __future__ import annotations

import pandas as pd
import pytest
from pertharness.contract.errors import ChoiceError
from pertharness.datasets.options import FileOptions
from pertharness.datasets.perturbations import read_names

GENES = ("KLF1", "CEBPE", "SPI1", "AHR", "ETS2", "MAPK1")
IDS = {gene: f"ENSG{i:011d}" for i, gene in enumerate(GENES)}
ENTREZ = {gene: str(10661 + 7 * i) for i, gene in enumerate(GENES)}


def read(
    labels: list[str], columns: dict[str, list[object]] | None = None, index: tuple[str, ...] = GENES, **options: object
) -> tuple[list[str], list[str], list[str]]:
    """Return the canonical labels, the genes and the notes."""
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(len(labels))])
    notes: list[str] = []
    var = pd.DataFrame(columns or {}, index=list(index))
    named, labelling = read_names(var, obs, FileOptions(**options), notes)  # type: ignore[arg-type]
    return [labelling.mapping[label] for label in labels], list(named.index), notes


@pytest.mark.parametrize("spelt", ["{}", "{}.12"])
def test_ensembl_ids_are_found_with_and_without_version(spelt: str) -> None:
    labels = ["non-targeting", *(spelt.format(IDS[gene]) for gene in GENES[:4])]
    labels.append("+".join(labels[1:3]))
    of_file: dict[str, list[object]] = {"gene_id": [f"{IDS[gene]}.3" for gene in GENES]}
    mapped, genes, notes = read(labels, of_file)
    assert mapped == ["control", *GENES[:4], "CEBPE+KLF1"]
    assert genes == list(GENES)
    assert any("4 names found in var['gene_id']" in note for note in notes)


@pytest.mark.parametrize("as_number", [False, True])
def test_entrez_ids_are_found(as_number: bool) -> None:
    of_file: dict[str, list[object]] = {
        "entrez_id": [int(ENTREZ[gene]) if as_number else ENTREZ[gene] for gene in GENES]
    }
    mapped, _, _ = read(["NT", ENTREZ["KLF1"], ENTREZ["AHR"], f"{ENTREZ['KLF1']}+{ENTREZ['AHR']}"], of_file)
    assert mapped == ["control", "KLF1", "AHR", "AHR+KLF1"]


def test_symbols_are_found_where_the_genes_are_ids() -> None:
    index = tuple(IDS.values())
    for column in ("gene_name", "called"):
        mapped, genes, _ = read(["NT", "KLF1", "AHR"], {column: list(GENES)}, index)
        assert mapped == ["control", "KLF1", "AHR"]
        assert genes == list(GENES)


@pytest.mark.parametrize("spelt", ["{}.5", "{}.12", "gene_{}"])
def test_a_version_or_number_is_no_symbol(spelt: str) -> None:
    index = tuple(spelt.format(i if "gene" in spelt else IDS[gene]) for i, gene in enumerate(GENES))
    assert read(["NT", index[0], index[3]], None, index)[1] == list(index)


def test_a_column_of_symbols_and_ids_gives_the_symbols() -> None:
    of_file: dict[str, list[object]] = {"feature_name": [f"{gene}_{IDS[gene]}" for gene in GENES]}
    mapped, genes, _ = read(["NT", "KLF1", "AHR"], of_file, tuple(IDS.values()))
    assert (mapped, genes) == (["control", "KLF1", "AHR"], list(GENES))


def test_another_case_prefixes_and_names_of_old_are_found() -> None:
    assert read(["NT", "Klf1", "Ahr", "Spi1_Ahr"])[0] == ["control", "KLF1", "AHR", "AHR+SPI1"]
    assert read(["NT", "hg19_KLF1", "hg19_AHR", "hg19_SPI1"])[0] == ["control", "KLF1", "AHR", "SPI1"]
    old: dict[str, list[object]] = {"previous": ["EKLF|OLD1", "CRP1", "PU1", "bHLHe76", None, None]}
    assert read(["NT", "EKLF", "PU1"], old)[0] == ["control", "KLF1", "SPI1"]


def test_genes_that_are_simply_absent_are_gone_on_with() -> None:
    ranks: dict[str, list[object]] = {"rank": list(range(6)), "gene_id": list(IDS.values())}
    assert read(["NT", "ABSENT", "KLF1", "GONE1"], ranks)[0] == ["control", "ABSENT", "KLF1", "GONE1"]
    assert read(["NT", "1", "2", "3"], {"rank": list(range(6))})[0] == ["control", "1", "2", "3"]


def test_two_columns_that_differ_are_asked_for() -> None:
    shifted = [*IDS.values()][1:] + [*IDS.values()][:1]
    columns: dict[str, list[object]] = {"gene_id": list(IDS.values()), "guide_id": list(shifted)}
    labels = ["NT", IDS["KLF1"], IDS["AHR"]]
    with pytest.raises(ChoiceError, match=r"var\['gene_id'\] and var\['guide_id'\] both list it.*--target-column"):
        read(labels, columns)
    assert read(labels, columns, target_column="gene_id")[0] == ["control", "KLF1", "AHR"]
    assert read(labels, columns, target_column="none")[0] == ["control", *labels[1:]]


def test_the_number_of_a_guide_is_not_that_of_a_gene() -> None:
    index = tuple(str(i) for i in range(6))
    labels = ["NT", *(f"{gene}_{k}" for gene in GENES[:3] for k in (1, 2))]
    assert read(labels, {"gene_names": list(GENES)}, index)[0] == ["control", *(g for g in GENES[:3] for _ in (1, 2))]
