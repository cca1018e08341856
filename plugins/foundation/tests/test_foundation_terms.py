"""Terms of genes: one answer from each published format, and a message for each file that has none."""

from __future__ import annotations

import gzip
import json
import pickle
import sqlite3
import zipfile
from contextlib import closing

import pytest
from pertharness import DataError
from pertharness_foundation.terms import read_entrez_symbols, read_terms

TERMS = {"A1BG": {"GO:0000001", "GO:0000002"}, "TP53": {"GO:0000002"}}
SYMBOLS = "symbol\tname\tentrez_id\nTP53\tp53\t7157\nA1BG\tglycoprotein\t1\nNOID\tno number\t\n"
GENE2GO = [
    "#tax_id\tGeneID\tGO_ID\tEvidence\tQualifier\tGO_term\tPubMed\tCategory",
    "9606\t1\tGO:0000001\tIDA\tlocated_in\tx\t-\tComponent",
    "9606\t1\tGO:0000002\tIEA\tenables\tx\t-\tFunction",
    "9606\t1\tGO:0000003\tND\tenables\tno data\t-\tFunction",
    "9606\t7157\tGO:0000002\tIDA\tenables\tx\t-\tFunction",
    "9606\t7157\tGO:0000004\tIDA\tNOT enables\tx\t-\tFunction",
    "9606\t999\tGO:0000001\tIDA\tenables\tgene without symbol\t-\tFunction",
    "96060\t1\tGO:0000005\tIDA\tenables\tanother species\t-\tFunction",
    "10090\t7157\tGO:0000005\tIDA\tenables\tmouse\t-\tFunction",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "terms.pkl").write_bytes(pickle.dumps(TERMS))
    (tmp_path / "terms.json").write_text(json.dumps({gene: sorted(terms) for gene, terms in TERMS.items()}))
    pairs = [(gene, term) for gene, terms in TERMS.items() for term in sorted(terms)]
    (tmp_path / "terms.csv").write_text("gene,term\n" + "".join(f"{gene},{term}\n" for gene, term in pairs))
    wide = "symbol,go_id,ontology\n" + "".join(f"{gene},{term},BP\n" for gene, term in pairs)
    (tmp_path / "wide.csv.gz").write_bytes(gzip.compress(wide.encode()))
    (tmp_path / "gene2go").write_text("\n".join(GENE2GO) + "\n")
    (tmp_path / "gene2go.gz").write_bytes(gzip.compress(("\n".join(GENE2GO) + "\n").encode()))
    (tmp_path / "hgnc_complete_set.txt").write_text(SYMBOLS)
    database = sqlite3.connect(tmp_path / "org.Hs.eg.sqlite")
    database.execute("CREATE TABLE gene_info (_id INTEGER, gene_name TEXT, symbol TEXT)")
    database.executemany("INSERT INTO gene_info VALUES (?, '', ?)", [(1, "A1BG"), (2, "TP53"), (3, "NOTHING")])
    for table in ("go_bp", "go_mf", "go_cc"):
        database.execute(f"CREATE TABLE {table} (_id INTEGER, go_id TEXT, evidence TEXT)")
    database.execute("INSERT INTO go_bp VALUES (1, 'GO:0000001', 'IDA'), (1, 'GO:0000001', 'IEA'), (3, 'GO:9', 'ND')")
    database.execute("INSERT INTO go_mf VALUES (1, 'GO:0000002', 'IDA')")
    database.execute("INSERT INTO go_cc VALUES (2, 'GO:0000002', 'IDA')")
    database.commit()
    database.close()
    return tmp_path


@pytest.mark.parametrize("name", ["terms.pkl", "terms.json", "terms.csv", "wide.csv.gz", "org.Hs.eg.sqlite"])
def test_each_format_has_the_same_terms(folder, name):
    terms = read_terms(folder / name)
    assert terms == TERMS
    assert list(terms) == sorted(TERMS)


@pytest.mark.parametrize("name", ["gene2go", "gene2go.gz"])
def test_the_file_of_the_ncbi_is_read_with_symbols(folder, name):
    assert read_terms(folder / name, folder / "hgnc_complete_set.txt") == TERMS


def test_numbers_of_genes_need_their_symbols(folder):
    with pytest.raises(DataError, match=r"gene2go.gz numbers genes.*hgnc_complete_set.txt .*parameter gene_table"):
        read_terms(folder / "gene2go.gz")
    (folder / "other.txt").write_text("symbol,entrez_id\nTP53,7157\n")
    with pytest.raises(DataError, match=r"other\.txt has no column 'entrez_id'"):
        read_entrez_symbols(folder / "other.txt")
    assert read_entrez_symbols(folder / "hgnc_complete_set.txt") == {"7157": "TP53", "1": "A1BG"}


def test_half_a_download_is_not_taken_for_the_whole(folder):
    content = (folder / "gene2go.gz").read_bytes()
    (folder / "gene2go.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"gene2go.gz is cut off or damaged"):
        read_terms(folder / "gene2go.gz", folder / "hgnc_complete_set.txt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("terms.txt", b"A GO:1", r"'terms.txt' ends in none of \.pkl, \.json, \.csv"),
        ("terms.json", b"[1]", "holds a list; expected a dict: gene -> terms"),
        ("terms.json", b"{", "cannot be read as JSON"),
        ("terms.json", b"[" * 100_000, "cannot be read as JSON"),
        ("terms.json", b'{"A": 3}', "has a int for 'A'; expected its terms"),
        ("terms.json", b'{"A": [["GO:1"]]}', r"has the term \['GO:1'\] of 'A'; expected a text"),
        ("terms.csv", b"gene,term\n", "terms.csv holds no gene"),
        ("terms.csv", b"", "of an empty file"),
        ("terms.csv", b"gene,term\nA\n", r"row 2: \['A'\]; expected 2 columns"),
        ("terms.csv", b"name,go_id,aspect\nA,GO:1,BP\n", "has the columns name, go_id, aspect; expected two"),
        ("terms.csv", b"gene,term\nA,\xff\n", "terms.csv is no text in UTF-8"),
        ("terms.pkl", b"<html><body>", "terms.pkl is a web page"),
        ("terms.sqlite", b"<!DOCTYPE html>", "terms.sqlite is a web page"),
        ("terms.sqlite", b"text " * 300, "cannot be read as a database of annotations"),
        ("gene2go.gz", b"gene\tterm\nA\tGO:1\n", "has no column 'tax_id'; expected gene2go.gz of the NCBI"),
    ],
)
def test_a_file_without_terms_is_refused(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_terms(folder / name, folder / "hgnc_complete_set.txt")


def test_a_database_of_something_else_is_refused_and_none_is_made(folder):
    with closing(sqlite3.connect(folder / "other.sqlite")) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
    with pytest.raises(DataError, match=r"other\.sqlite cannot be read as a database of annotations"):
        read_terms(folder / "other.sqlite")
    with pytest.raises(DataError, match="expected a file at"):
        read_terms(folder / "absent.sqlite")
    assert not (folder / "absent.sqlite").exists()


def test_a_zip_is_no_compressed_csv(folder):
    with zipfile.ZipFile(folder / "wide.csv.gz", "w") as archive:
        archive.writestr("wide.csv", "gene,term\nA,GO:1\n")
    with pytest.raises(DataError, match=r"wide.csv.gz (is no text|has the columns)"):
        read_terms(folder / "wide.csv.gz")
