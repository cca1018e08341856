"""Gene lists of published models: the kinds of files that hold them, and files that hold none."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import DataError, read_gene_list

GENES = ["TP53", "KLF1", "HLA-A", "C1orf112"]


def written(folder: Path, name: str) -> Path:
    """Return a file with the genes, of the kind that its name says."""
    path = folder / name
    if name.endswith(".h5ad"):
        AnnData(X=np.zeros((1, 4), dtype=np.float32), var=pd.DataFrame(index=GENES)).write_h5ad(path)
    elif name.endswith(".npy"):
        np.save(path, np.array(GENES))
    else:
        texts = {
            "lines.txt": "TP53\nKLF1\nHLA-A\nC1orf112\n",
            "spaced.txt": "\ufeffTP53 \r\nKLF1\r\nHLA-A\r\nC1orf112\r\n\r\n",
            "no_end": "TP53\nKLF1\nHLA-A\nC1orf112",
            "list.json": json.dumps(GENES),
            "vocabulary.json": json.dumps({"KLF1": 7, "C1orf112": 30, "TP53": 0, "HLA-A": 8}),
            "unnamed_json": json.dumps(GENES),
            "first.csv": "x,y\nTP53,1\nKLF1,2\nHLA-A,3\nC1orf112,4\n",
            "named.csv": 'id,Gene_Symbol\n1,TP53\n2,"KLF1"\n3,HLA-A\n4,C1orf112\n',
            "two.tsv": "symbol\tgene_name\na\tTP53\nb\tKLF1\nc\tHLA-A\nd\tC1orf112\n",
        }
        path.write_bytes(texts[name].encode())
    return path


@pytest.mark.parametrize(
    "name",
    [
        "lines.txt", "spaced.txt", "no_end", "list.json", "vocabulary.json", "unnamed_json", "first.csv", "named.csv",
        "two.tsv", "data.h5ad", "array.npy",
    ],
)  # fmt: skip
def test_a_list_is_read_in_its_order(tmp_path: Path, name: str) -> None:
    assert read_gene_list(written(tmp_path, name)) == GENES


def test_a_list_of_hdf5_or_numpy_is_known_by_its_content(tmp_path: Path) -> None:
    for name in ("data.h5ad", "array.npy"):
        assert read_gene_list(written(tmp_path, name).rename(tmp_path / "genes.txt")) == GENES


PAGE = b"\n<!DOCTYPE html><html><body>Sign in to download</body></html>"
FAULTS = {
    "empty": (b"", "is empty"), "blank": (b" \n\n", "is empty"), "page": (PAGE, "is a web page"),
    "duplicate": (b"A\nB\nA\n", "the duplicate symbol 'A', number 3"),
    "gap": (b"A\n\nB\n", "an empty symbol, number 2 of 3"),
    "table.txt": (b"A,1\nB,2\n", "has 'A,1' in line 1"), "not_text": (b"A\n\xff\xfe\n", "cannot be read"),
    "pickle": (pickle.dumps(["A"]), "is a pickle"), "packed.csv": (gzip.compress(b"A\nB\n"), "compressed"),
    "short.csv": (b"x,symbol\n1,A\n2\n", "has 1 columns in line 3"), "header.csv": (b"x,symbol\n", "has no genes"),
    "broken.json": (b'["A", ', "is not JSON"), "numbers.json": (b"[1, 2]", "has 1 in its list"),
    "text.json": (b'"A"', "holds 'A'"), "empty.json": (b"{}", "has no genes"),
    "same.json": (b'{"A": 1, "B": 1}', "two symbols with one index"),
    "words.json": (b'{"A": "x"}', "has 'x' for 'A', expected its index"),
    "truth.json": (b'{"A": true}', "has True for 'A'"), "deep.json": (b"[" * 100_000, "nested too deep"),
    "damaged.h5ad": (b"\x89HDF\r\n\x1a\n" + bytes(100), "cannot be read as h5ad"), "text.h5ad": (b"A\nB\n", "h5ad"),
    "text.npy": (b"A\nB\n", "is no array of texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_holds_no_list_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    content, problem = FAULTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_gene_list(tmp_path / name)
    assert problem in str(caught.value)
    assert name in str(caught.value)


def test_arrays_of_objects_and_numbers_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array(["A", None], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"is no array of texts: .*allow_pickle"):
        read_gene_list(tmp_path / "objects.npy")
    np.save(tmp_path / "numbers.npy", np.arange(3))
    with pytest.raises(DataError, match="is an array of int64"):
        read_gene_list(tmp_path / "numbers.npy")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt.*cannot be read: No such file"):
        read_gene_list(tmp_path / "gone.txt")
