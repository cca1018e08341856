"""The parameters of the model: the published settings as defaults (doi 10.1038/s41587-023-01905-6), each checked."""

from __future__ import annotations

from typing import Literal

from pertharness_foundation.settings import Strict
from pydantic import Field


class FileNames(Strict):
    """Absolute path of a user's file; if empty, the file of the data set or the fetched one is used."""

    gene2go: str = Field("", description="file of the terms of each gene; empty: the data set's or the fetched one")
    pert_genes: str = Field("", description="file of the genes of the graph; empty: the fetched one, or all genes")
    graph: str = Field("", description="CSV of edges source,target,importance; empty: fetched, or made of the terms")
    gene_table: str = Field(
        "", description="hgnc_complete_set.txt of the HGNC, needed for gene2go.gz of the NCBI; empty: none"
    )


class Network(Strict):
    """Arguments of ``model_initialize``.

    Left out: ``decoder_hidden_size``, which changes nothing in 0.1.2, and ``uncertainty``, whose loss ends with an
    error on a CPU (a leaf variable changed in place) and whose variances nothing here would use.
    """

    hidden_size: int = Field(64, ge=1, description="width of the layers and embeddings")
    num_go_gnn_layers: int = Field(1, ge=1, description="layers of the network on the graph of GO terms")
    num_gene_gnn_layers: int = Field(1, ge=1, description="layers of the network on the co-expression graph")
    num_similar_genes_go_graph: int = Field(20, ge=1, description="neighbours of a gene in the graph of GO terms")
    num_similar_genes_co_express_graph: int = Field(20, ge=1, description="neighbours in the co-expression graph")
    coexpress_threshold: float = Field(0.4, ge=0, le=1, description="correlation that an edge has to exceed")
    direction_lambda: float = Field(0.1, ge=0, description="weight of the loss on the direction of change")


class Optimiser(Strict):
    """Arguments of ``train``."""

    epochs: int = Field(20, ge=1, description="passes over the training cells; the best on val is kept")
    lr: float = Field(1e-3, gt=0, description="learning rate, halved every epoch")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay of the optimiser")


class Own(Strict):
    """Settings of the plugin itself, or of other calls of cell-gears; README.md describes each."""

    batch_size: int = Field(32, ge=2, description="cells per step")  # at least 2: batches are normalised
    procedure: Literal["paper", "corrected"] = Field(
        "paper",
        description="keep the quirks of the published code, or undo four of them",
        json_schema_extra={"formerly": ["protocol"]},
    )
    control_sampling: Literal["procedure", "upstream", "all"] = Field(
        "procedure", description="predict from 300 drawn controls (upstream), from all, or as the procedure says"
    )


class Settings(Strict):
    """Parameters of the model."""

    network: Network = Network()
    optimiser: Optimiser = Optimiser()
    own: Own = Own()
    files: FileNames = FileNames()

    @property
    def sampling(self) -> str:
        """``upstream`` or ``all``: the control cells to predict from."""
        of_procedure = {"paper": "upstream", "corrected": "all"}[self.own.procedure]
        return of_procedure if self.own.control_sampling == "procedure" else self.own.control_sampling


class EmbeddingSettings(Strict):
    """Parameters of the embedding."""

    k: int = Field(2, ge=1, description="dimensions; the text of doi 10.1038/s41592-025-02772-6 has 10, its code 2")
    files: FileNames = FileNames()
