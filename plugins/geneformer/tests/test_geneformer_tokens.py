"""From genes of the data to tokens of cells, and what a perturbation does to them: no network."""

import numpy as np
import pytest
from pertharness import DataError, Skip
from pertharness_geneformer.dictionaries import Dictionaries
from pertharness_geneformer.genes import match_genes
from pertharness_geneformer.perturbing import TooShort, delete, mode_of, overexpress
from pertharness_geneformer.selection import choose_cells, sample_by_class
from pertharness_geneformer.tokens import Vocabulary, tokenise
from scipy import sparse

A, B, C = "ENSG00000000001", "ENSG00000000002", "ENSG00000000003"
TOKENS = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3, A: 4, B: 5, C: 6}
# OLDA is an earlier symbol of A; ENSG00000000009 an earlier id of B; D has no token.
MAPPING = {
    "GENEA": A, "OLDA": A, "GENEB": B, "C1ORF1": C, A: A, B: B, C: C, "ENSG00000000009": B, "GENED": "ENSG00000000004",
}  # fmt: skip
KNOWN = Dictionaries(TOKENS, MAPPING, {A: 1.0, B: 2.0, C: 0.5})
SPECIAL = Vocabulary.of(TOKENS, 10)


def ids_of(genes):
    return [None if number < 0 else genes.ids[number] for number in genes.of_column]


def test_symbols_that_are_not_the_first_of_their_id_are_lost_as_published():
    names = ["GENEB", "OLDA", "C1orf1", "GENED", "GENEA"]
    paper = match_genes(names, None, KNOWN, "first_key")
    assert ids_of(paper) == [B, None, None, None, A]
    corrected = match_genes(names, None, KNOWN, "any_key")
    assert ids_of(corrected) == [B, A, C, None, A]
    assert corrected.note == (
        "genes: 4 of 5 have a token of Geneformer (4 by symbol); counts of 1 are added to those of another gene of the "
        "same Ensembl id; 1 have none and are left out, such as 'GENED'"
    )


def test_ensembl_ids_come_before_symbols_and_earlier_ones_are_known():
    names = ["GENEB", "OLDA", "x", "GENED", C]
    genes = match_genes(names, ["ENSG00000000009.3", A.lower(), "", "ENSGMADEUP", ""], KNOWN, "first_key")
    assert ids_of(genes) == [B, A, None, None, C]
    assert "(3 by Ensembl id)" in genes.note


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["mouse1"], None, r"none of the 1 genes of the data \(first: 'mouse1'\).*--ensembl-column.*--gene-column"),
        (["x"], ["ENSG00000000099"], r"leads to a token; the dictionary has names such as 'GENEA'"),
        (["OLDA"], None, r"none is the first of its Ensembl id: .*--ensembl-column, or set symbols=any_key"),
    ],
)
def test_data_without_a_known_gene_are_refused_with_what_to_do(names, ids, message):
    with pytest.raises(DataError, match=message):
        match_genes(names, ids, KNOWN, "first_key")


def test_a_gene_with_a_token_and_no_median_is_an_error():
    without = Dictionaries(TOKENS, MAPPING, {A: 1.0, C: 1.0})
    with pytest.raises(DataError, match=rf"none of '{B}' and 0 more genes .*different versions"):
        match_genes(["GENEA", "GENEB"], None, without, "first_key")


def logs_of(counts):
    counts = np.asarray(counts, dtype=np.float64)
    return sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32))


def test_cells_are_ranked_by_count_over_median():
    genes = match_genes(["GENEA", "GENEB", "C1ORF1", "GENED"], None, KNOWN, "first_key")
    # By median: 3, 1, 2 and 1, 0, 4.
    cells = tokenise(logs_of([[3, 2, 1, 9], [1, 0, 2, 0]]), genes, SPECIAL)
    assert [cell.tolist() for cell in cells] == [[2, 4, 6, 5, 3], [2, 6, 4, 3]]


def test_counts_of_genes_of_one_id_are_summed_and_ties_keep_the_order_of_the_data():
    genes = match_genes(["GENEB", "OLDA", "GENEA", "C1ORF1"], None, KNOWN, "any_key")
    # B 4 by 2, A 1 + 1, C 1 by 0.5: all 2.
    (cell,) = tokenise(logs_of([[4, 1, 1, 1]]), genes, SPECIAL)
    assert cell.tolist() == [2, 5, 4, 6, 3]


def test_a_long_cell_loses_its_smallest_genes():
    genes = match_genes(["GENEA", "GENEB", "C1ORF1"], None, KNOWN, "first_key")
    (cell,) = tokenise(logs_of([[9, 1, 2]]), genes, Vocabulary.of(TOKENS, 4))
    assert cell.tolist() == [2, 4, 6, 3]


def test_raw_counts_are_refused():
    genes = match_genes(["GENEA"], None, KNOWN, "first_key")
    with pytest.raises(DataError, match=r"raw counts\? .*--scale counts --normalise"):
        tokenise(sparse.csr_matrix([[400.0]]), genes, SPECIAL)


def test_a_target_is_taken_out_or_put_in_front():
    cell = np.array([2, 4, 5, 6, 3])
    assert delete(cell, [6], "paper").tolist() == [2, 4, 5, 3]
    assert delete(cell, [6, 4], "paper").tolist() == [2, 5, 3]
    assert delete(cell, [9, 4], "skip_cell").tolist() == [2, 5, 6, 3]
    assert overexpress(cell, [6, 4], 9).tolist() == [2, 6, 4, 5, 3]
    assert overexpress(cell, [9, 4], 9).tolist() == [2, 9, 4, 5, 6, 3]
    assert overexpress(cell, [9, 8], 5).tolist() == [2, 9, 8, 4, 3]


def test_what_is_deleted_where_the_target_is_not_expressed():
    long, short = np.arange(200), np.arange(99)
    assert set(range(200)) - set(delete(long, [999], "paper")) == {100}
    assert delete(np.arange(100), [999], "paper").tolist() == list(range(1, 100))
    with pytest.raises(TooShort):
        delete(short, [999], "paper")
    assert delete(long, [999], "skip_cell") is None
    assert delete(short, [999], "no_op") is short


def test_the_modality_says_what_is_done():
    assert [mode_of(modality, "auto") for modality in ("crispra", "crispri", "ko")] == ["overexpress", *["delete"] * 2]
    assert mode_of("crispra", "delete") == mode_of(None, "delete") == "delete"
    assert mode_of("crispri", "overexpress") == "overexpress"
    with pytest.raises(Skip, match=r"does not declare its modality: load it with --modality crispra, crispri or ko"):
        mode_of(None, "auto")


def test_cells_of_a_class_and_three_parts():
    labels = np.array(["a"] * 50 + ["b"] * 5 + ["control"] * 30, dtype=object)
    parts = choose_cells(labels, 20, 42)
    both = np.concatenate([parts.training, parts.evaluation])
    assert len(set(both)) == len(both) == 40  # of 20 + 5 + 20, less a tenth rounded up
    assert len(parts.evaluation) == 5
    counts = {label: int((labels[both] == label).sum()) for label in ("a", "b", "control")}
    assert counts["a"] <= 20
    assert counts["control"] <= 20
    assert sample_by_class(list("xyxxy"), 5, 42).tolist() == [0, 2, 3, 1, 4]
    other = choose_cells(labels, 20, 43)
    assert other.training.tolist() != parts.training.tolist()


def test_too_few_cells_for_three_parts_are_a_skip():
    with pytest.raises(Skip, match="2 training cells are too few"):
        choose_cells(np.array(["a", "control"], dtype=object), 300, 42)
