"""Queries are read as the labels of the screen are."""

import pytest
from pertharness.contract.errors import DataError, RecipeError
from pertharness.host.run.query_labels import split_queries
from pertharness.worker.external.labels import DataLabels
from pertharness.worker.external.query_labels import read_queries

SPELLINGS = {"ctrl": "control", "KLF1+ctrl": "KLF1", "CEBPE+ctrl": "CEBPE", "KLF1+CEBPE": "CEBPE+KLF1"}
PERTURBATIONS = ["control", "KLF1", "CEBPE", "CEBPE+KLF1"]
GENES = {"KLF1", "CEBPE", "BAK1", "Sox2", "SOX9", "sox9", "CTRL"}
LABELS = DataLabels.of(SPELLINGS, PERTURBATIONS, GENES, {"ENSG00000030110": "BAK1"}, {})


@pytest.mark.parametrize(
    ("query", "perturbation"),
    [
        ("KLF1", "KLF1"), ("klf1", "KLF1"), ("KLF1+ctrl", "KLF1"), ("ctrl+KLF1", "KLF1"),
        ("KLF1+CEBPE", "CEBPE+KLF1"), ("CEBPE+KLF1", "CEBPE+KLF1"), ("klf1+cebpe", "CEBPE+KLF1"),
        # What was never measured: a gene of the screen, of other case, by its id; a new pair; an unknown gene.
        ("BAK1", "BAK1"), ("bak1", "BAK1"), ("ENSG00000030110", "BAK1"), ("sox2", "Sox2"),
        ("KLF1+BAK1", "BAK1+KLF1"), (" bak1 + klf1 ", "BAK1+KLF1"), ("BAK1+ctrl", "BAK1"),
        ("NEWGENE", "NEWGENE"), ("NEWGENE+KLF1", "KLF1+NEWGENE"), ("KLF1+CEBPE+BAK1", "BAK1+CEBPE+KLF1"),
        # Two genes differ by case alone: as it stands.
        ("Sox9", "Sox9"), ("SOX9", "SOX9"),
    ],
)  # fmt: skip
def test_a_query_means_what_the_label_would(query, perturbation):
    assert read_queries([query], LABELS) == {query: perturbation}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("control", "query 'control' is the control"),
        ("ctrl", "query 'ctrl' is the control"),
        ("KLF1+", "has no target, or an empty one"),
        ("BAK1+bak1", "duplicate target 'BAK1'"),
    ],
)
def test_what_is_no_perturbation_is_refused(query, message):
    with pytest.raises(DataError, match=message):
        read_queries(["KLF1", query], LABELS)


def test_the_separator_of_the_screen_divides_queries():
    labels = DataLabels.of({"KLF1_CEBPE": "CEBPE+KLF1"}, PERTURBATIONS, GENES, {}, {"separator": "_"})
    assert read_queries(["KLF1_BAK1", "KLF1_CEBPE", "KLF1+BAK1"], labels) == {
        "KLF1_BAK1": "BAK1+KLF1", "KLF1_CEBPE": "CEBPE+KLF1", "KLF1+BAK1": "BAK1+KLF1",
    }  # fmt: skip


def test_queries_come_from_commas_and_lines(tmp_path):
    file = tmp_path / "queries.txt"
    file.write_bytes("\ufeffA,B\r\n\n C+D \nA\n".encode())
    assert split_queries(["A, B+C,,A", str(file)]) == ["A", "B+C", "A,B", "C+D"]
    for nothing in ([], [","], [""]):
        with pytest.raises(RecipeError, match="there is no query"):
            split_queries(nothing)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"cannot be read: .*expected one label a line"):
        split_queries([str(file)])
    assert split_queries(["x" * 5000]) == ["x" * 5000]
