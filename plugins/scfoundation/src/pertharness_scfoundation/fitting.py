"""From the arguments of the hook ``fit`` to a trained model: files, gene list, cells, the pretrained network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pertharness_foundation.contents import named_file, published_file
from pertharness_foundation.device import choose_precision, open_device
from pertharness_foundation.genes import read_hgnc
from pertharness_foundation.terms import read_terms

from pertharness_scfoundation.cells import match_columns, read_cells
from pertharness_scfoundation.embedder import make_embedder
from pertharness_scfoundation.settings import Settings
from pertharness_scfoundation.terms import OF_DATASET, find_terms
from pertharness_scfoundation.training import Fitted, fit_head
from pertharness_scfoundation.weights import CHECKPOINT, GENE_LIST, read_gene_list, read_pretrained

if TYPE_CHECKING:
    from anndata import AnnData


def fit_model(
    train: AnnData, val: AnnData | None, files: Mapping[str, Path], settings: Settings, device_name: str, seed: int,
    workdir: Path,
) -> Fitted:  # fmt: skip
    """Read all that is needed, and train; the files are checked before anything is computed.

    Raises
    ------
    Skip
        If a file is absent, the data lack genes of the list, or too few cells are left.
    DataError
        If a file or the data are not what they have to be.
    """
    named = settings.files
    checkpoint = published_file("scfoundation", files, CHECKPOINT, named.checkpoint, "checkpoint")
    genes = read_gene_list(published_file("scfoundation", files, GENE_LIST, named.gene_list, "gene_list"))
    terms_file = find_terms(files, named.gene2go)
    gene_table = named_file("scfoundation", "gene_table", named.gene_table) if named.gene_table else None
    table = None if gene_table is None else read_hgnc(gene_table)
    terms = read_terms(terms_file, gene_table)
    columns = match_columns(train, genes, table)
    device = open_device(device_name)
    precision = choose_precision(device, settings.predicting.precision, proven=False)
    cells = read_cells(train, columns)
    validation = None if val is None else read_cells(val, columns)
    pretrained = read_pretrained(checkpoint, genes)
    notes = [pretrained.note, columns.note, f"precision of the pretrained network: {precision}"]
    if terms_file.name == OF_DATASET and not named.gene2go:
        notes.append("the data set's own terms are taken for the Gene Ontology")
    empty = train.n_obs - len(cells.totals)
    if empty:
        notes.append(f"{empty} of {train.n_obs} training cells have no counts and are left out")
    embedder = make_embedder(pretrained.network, device, precision)
    return fit_head(cells, validation, columns, terms, embedder, settings, seed, workdir, tuple(notes))
