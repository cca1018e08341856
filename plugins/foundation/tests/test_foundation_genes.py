"""Gene identity: what is matched how, and what is counted as lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertharness import DataError
from pertharness_foundation.genes import GeneTable, ensembl_id, match_genes, read_hgnc

HGNC = """hgnc_id\tsymbol\tname\talias_symbol\tprev_symbol\tensembl_gene_id
HGNC:1\tCEBPE\tone\tCRP1\t\tENSG00000092067
HGNC:2\tRIGI\ttwo\tRIG-I|FLJ13599\tDDX58\tENSG00000107201
HGNC:3\tTP53\tthree\t"p53|LFS1"\t\tENSG00000141510
HGNC:4\tFOO\tfour\tSHARED|TP53\t\tENSG00000000004
HGNC:5\tBAR\tfive\tSHARED\tCRP1\t
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "hgnc.txt").write_text(HGNC, encoding="utf-8")
    return read_hgnc(tmp_path / "hgnc.txt")


def test_a_table_of_the_hgnc_is_read(table):
    assert table.symbol_of["ENSG00000107201"] == "RIGI"
    assert table.approved["DDX58"] == table.approved["FLJ13599"] == table.approved["RIGI"] == "RIGI"
    assert table.approved["LFS1"] == "TP53"
    assert table.approved["TP53"] == "TP53"  # approved before alias of FOO
    assert "SHARED" not in table.approved  # of two genes
    assert table.approved["CRP1"] == "BAR"  # an earlier symbol before an alias


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("symbol,alias\n", "no column 'symbol' .* with tabs"), ("symbol\tx\n", "no column 'alias_symbol'"),
        ("<html>Not found</html>", "genes.txt is a web page"),
    ],
)  # fmt: skip
def test_another_table_is_an_error(tmp_path, content, message):
    (tmp_path / "genes.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read_hgnc(tmp_path / "genes.txt")
    with pytest.raises(DataError, match=r"absent\.txt: No such file"):
        read_hgnc(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("ENSG00000092067", "ENSG00000092067"), ("ENSG00000092067.12", "ENSG00000092067"),
        ("ENSMUSG00000000001.4", "ENSMUSG00000000001"), ("ENSG00000182162.11_PAR_Y", "ENSG00000182162"),
        ("TP53", None), ("ENSA", None), ("ENSG00000092067.", None), ("", None),
    ],
)  # fmt: skip
def test_an_ensembl_id_loses_its_version(name, stem):
    assert ensembl_id(name) == stem


def test_symbols_match_exactly_by_id_and_by_alias(table):
    vocabulary = ["TP53", "DDX58", "CEBPE", "LAST"]
    match = match_genes(
        ["NOWHERE", "ENSG00000141510.3", "RIGI", "CEBPE", "tp53"],
        vocabulary, ensembl_ids=["", "", "ENSG00000107201", "ENSG00000092067", "nan"], table=table,
    )  # fmt: skip
    assert match.names == (None, "TP53", "DDX58", "CEBPE", None)
    assert match.lost == ("NOWHERE", "tp53")
    assert match.known.tolist() == [False, True, True, True, False]
    assert match.tokens({name: i for i, name in enumerate(vocabulary)}, unknown=9).tolist() == [9, 0, 1, 2, 9]
    assert match.note() == (
        "genes: 3 of 5 are in the model's vocabulary (1 by name, 1 by Ensembl id, 1 by another symbol); 2 are not, "
        "such as 'NOWHERE'"
    )
    assert (match.name_of("RIGI"), match.name_of("NOWHERE"), match.name_of("absent")) == ("DDX58", None, None)


def test_without_a_table_only_exact_names_match():
    match = match_genes(["RIGI", "TP53"], ["DDX58", "TP53"])
    assert match.names == (None, "TP53")
    assert match.tokens({"DDX58": 0, "TP53": 1}, unknown=7).dtype == np.int64


def test_an_exact_match_is_not_given_up_for_another_gene(table):
    match = match_genes(["DDX58", "RIGI"], ["RIGI"], table=table)
    assert match.names == (None, "RIGI")
    match = match_genes(["ENSG00000107201.1", "ENSG00000107201.2"], ["RIGI"], table=table)
    assert match.names == ("RIGI", None)


def test_a_vocabulary_of_ensembl_ids_is_met_by_id_symbol_and_alias(table):
    vocabulary = ["ENSG00000107201", "ENSG00000141510", "ENSG00000092067"]
    by_id = match_genes(["a", "b"], vocabulary, ensembl_ids=["ENSG00000107201.9", ""])
    assert by_id.names == ("ENSG00000107201", None)
    by_symbol = match_genes(["TP53", "DDX58", "NOWHERE"], vocabulary, table=table)
    assert by_symbol.names == ("ENSG00000141510", "ENSG00000107201", None)


def test_symbols_with_ids_of_nameless_genes_among_them_are_met_by_alias(table):
    match = match_genes(["RIGI", "ENSG00000999999.2"], ["DDX58", "ENSG00000999999"], table=table)
    assert match.names == ("DDX58", "ENSG00000999999")


@pytest.mark.parametrize(
    ("genes", "vocabulary", "message"),
    [
        (["ENSG00000092067"], ["TP53"],
         r"\(first: 'ENSG00000092067'\) is among the 1 of the model \(such as 'TP53'\): the data have Ensembl ids, and "
         "the model knows symbols; load them with --gene-column"),
        (["TP53"], ["ENSG00000092067"], "model knows Ensembl ids, and the data have none; load them with --ensembl"),
        (["Trp53", "Tp53"], ["TP53"], "in upper case some are: are these genes of another species"),
        (["X1"], ["TP53"], "expected data of human genes by symbol"),
    ],
)  # fmt: skip
def test_no_match_at_all_is_an_error_with_an_example(genes, vocabulary, message):
    with pytest.raises(DataError, match=message):
        match_genes(genes, vocabulary)


names = st.sampled_from([f"G{i}" for i in range(8)])


@given(st.lists(names, min_size=1, max_size=8, unique=True), st.sets(names, min_size=1), st.dictionaries(names, names))
def test_no_two_genes_have_one_name_and_exact_names_stay(genes, vocabulary, approved):
    try:
        match = match_genes(genes, vocabulary, table=GeneTable({}, approved))
    except DataError:
        assert not set(genes) & vocabulary
        return
    matched = [name for name in match.names if name is not None]
    assert len(set(matched)) == len(matched)
    assert all(name == gene for gene, name in zip(genes, match.names, strict=True) if gene in vocabulary)
    assert set(matched) <= vocabulary
