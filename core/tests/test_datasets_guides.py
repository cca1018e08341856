"""Names of guides: what numbers them is dropped where the genes show it, and a gene's own number never is."""

from __future__ import annotations

import pandas as pd
import pytest
from pertharness.datasets.doses import drug_of
from pertharness.datasets.labelling import Labelling, find_labelling
from pertharness.datasets.options import FileOptions
from pertharness.datasets.targets import names_by_column

GENES = ("KLF1", "CEBPE", "SPI1", "AHR", "ETS2", "NKX2-1", "HLA-A", "MAPK1", "BCL2")
SINGLES = GENES[:5]


def read(labels: list[str], genes: tuple[str, ...] = GENES, **options: object) -> Labelling:
    obs = pd.DataFrame({"perturbation": pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))])
    columns = names_by_column(pd.DataFrame(index=list(genes)), genes)
    return find_labelling(obs, genes, FileOptions(**options), columns)  # type: ignore[arg-type]


PATTERNS = (
    "{g}-{k}", "{g}.{k}", "{g}_{k}", "{g}g{k}", "sg{g}_{k}", "{g}_sg{k}", "{g} guide {k}", "{g}#{k}", "{g}_0000{k}",
    "sg-{g}-{k}", "gRNA_{g}_{k}", "{g}_-_1299{k}.23-P1P2", "{g}_+_1299{k}.23", "{g}_P{k}", "{g}_pDS{k}",
    "Tcrlibrary_{g}_{k}", "{g}-{k}_KO", "CRISPRi_{g}.{k}", "{g}:{k}", "{g} ({k})",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_guides_of_a_gene_are_one_target_and_it_is_said(pattern: str) -> None:
    spelt = {pattern.format(g=gene, k=k): gene for gene in (*SINGLES, "NKX2-1", "HLA-A") for k in (1, 2)}
    labelling = read(["NTC_1", "NTC_2", *spelt])
    assert {label: labelling.mapping[label] for label in spelt} == spelt
    assert any("guides: 14 names" in note for note in labelling.notes)


def test_sequences_and_letters_tell_guides_apart() -> None:
    for ends in (("GATTACAGATTACAGATTAC", "CCCCTTTTGGGGAAAACCCC"), ("A", "B")):
        labelling = read(["NT", *(f"{gene}_{end}" for gene in SINGLES for end in ends)])
        assert set(labelling.mapping.values()) == {"control", *SINGLES}


def test_doubles_of_guides_are_doubles_of_genes() -> None:
    labels = ["NT", *(f"{gene}-{k}" for gene in SINGLES for k in (1, 2)), "KLF1-1+AHR-2", "AHR-1+KLF1-2", "SPI1-1+NT"]
    mapping = read(labels).mapping
    assert mapping["KLF1-1+AHR-2"] == mapping["AHR-1+KLF1-2"] == "AHR+KLF1"
    assert mapping["SPI1-1+NT"] == "SPI1"


def test_dual_guides_of_one_gene_are_a_single() -> None:
    labelling = read(["non-targeting", *(f"{gene}_+_23|{gene}_-_45" for gene in SINGLES)])
    assert list(labelling.mapping.values()) == ["control", *SINGLES]


def test_names_that_only_look_like_guides_survive() -> None:
    labels = ["NT", "KLF1", "CEBPE", "NKX2-1", "HLA-A", "BCL2-L1", "MAPK1", "NKX2-5"]
    assert read(labels).mapping == {label: "control" if label == "NT" else label for label in labels}


def test_absent_genes_among_guides_survive() -> None:
    genes = tuple(gene for gene in GENES if gene not in ("NKX2-1", "HLA-A"))
    labels = ["NT", *(f"{gene}-{k}" for gene in SINGLES for k in (1, 2)), "NKX2-1", "HLA-A"]
    mapping = read(labels, genes).mapping
    assert mapping["NKX2-1"] == "NKX2-1"
    assert mapping["HLA-A"] == "HLA-A"
    assert mapping["KLF1-2"] == "KLF1"


def test_one_odd_name_makes_no_rule() -> None:
    assert read(["NT", "KLF1", "CEBPE", "SPI1", "AHR", "ETS2-1"]).mapping["ETS2-1"] == "ETS2-1"


def test_guides_of_genes_that_the_file_lacks_are_kept_on_one_side() -> None:
    labels = ["NT", *(f"{gene}-{k}" for gene in SINGLES for k in (1, 2))]
    for genes in (("OTHER",), ("CEBPE", "SPI1", "AHR", "ETS2")):
        labelling = read(labels, genes)
        assert labelling.mapping["KLF1-1"] == "KLF1-1"
        assert labelling.genes["KLF1-1"] == labelling.genes["KLF1-2"] == "KLF1"
        assert any("may be guides of one gene" in note for note in labelling.notes)
        assert read(labels, genes, guides="together").mapping["KLF1-2"] == "KLF1"
        assert read(labels, genes, guides="none").genes == {}


def test_guides_are_kept_apart_or_taken_as_names_by_a_flag() -> None:
    labels = ["NT", *(f"{gene}-{k}" for gene in SINGLES for k in (1, 2)), "KLF1-1+AHR-2"]
    apart = read(labels, guides="separate")
    assert apart.mapping["KLF1-1+AHR-2"] == "AHR-2+KLF1-1"
    assert apart.genes["AHR-2+KLF1-1"] == "AHR+KLF1"
    assert apart.genes["KLF1-1"] == "KLF1"
    names = read(labels, guides="none")
    assert names.mapping["KLF1-1"] == "KLF1-1"
    assert names.genes == {}


def test_names_and_numbers_in_turns_are_two_guides() -> None:
    """As in dual-guide libraries: KLF1_1_CEBPE_2 is a guide of KLF1 beside one of CEBPE."""
    labels = ["NTC_1_NTC_2", "KLF1_1_NTC_2", "NTC_1_CEBPE_2", "KLF1_1_CEBPE_2", "CEBPE_1_KLF1_2", "SPI1_1_AHR_2"]
    labels += ["SPI1_2_NTC_1", "NTC_3_NTC_1"]
    labelling = read(labels)
    assert labelling.controls == ("NTC_1_NTC_2", "NTC_3_NTC_1")
    assert [labelling.mapping[label] for label in labels[1:7]] == [
        "KLF1", "CEBPE", "CEBPE+KLF1", "CEBPE+KLF1", "AHR+SPI1", "SPI1"
    ]  # fmt: skip
    apart = read(labels, guides="separate")
    assert apart.mapping["KLF1_1_CEBPE_2"] == "CEBPE_2+KLF1_1"
    assert apart.genes["CEBPE_2+KLF1_1"] == "CEBPE+KLF1"


@pytest.mark.parametrize(
    ("spelt", "control"),
    [
        ("[('{d} (hydrochloride)', {n}, 'uM')]", "[('DMSO_TF', 0.0, 'uM')]"),
        ("{d}_{n}uM", "DMSO"),
        ("{d} ({n} nM)", "vehicle"),
        ("{d}@{n} ng/ml", "untreated"),
    ],
)
def test_doses_of_a_drug_are_kept_apart_on_one_side_of_every_split(spelt: str, control: str) -> None:
    labels = {spelt.format(d=drug, n=dose): drug for drug in ("Nutlin-3", "BMS-345541") for dose in (0.5, 5.0)}
    labelling = read([control, *labels])
    assert [labelling.mapping[label] for label in (control, *labels)] == ["control", *labels]
    assert {label: drug.removesuffix(" (hydrochloride)") for label, drug in labelling.genes.items()} == labels
    assert any(note.startswith("doses: 4 names are doses of 2 drugs") for note in labelling.notes)
    assert read([control, *labels], guides="none", separator="none").genes == {}


def test_what_only_ends_like_a_dose_is_none() -> None:
    assert read(["NT", "KLF1", "SPI1-3M", "CD3-5M"]).genes == {}  # one of each
    assert drug_of("KLF1_2") is None
    assert drug_of("10 uM") is None
