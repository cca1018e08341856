"""The parameters of the model: the published settings as defaults, and which quirks of the published code are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pertharness_foundation.decoder import Decoding
from pertharness_foundation.settings import Strict, choose_quirks
from pydantic import Field

PositionTable = Literal["off", "on"]
EmbeddedCells = Literal["first_3", "all"]
EmbeddingMean = Literal["hundredth", "true"]
Sampling = Literal["replacement", "epoch"]
KeyMaximum = Literal["batch", "cell"]
Accumulation = Literal["sum", "mean"]
FineTuningSeed = Literal["fixed", "run"]


class FileNames(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="checkpoint in the published layout; empty: panglao_pretrain.pth")
    gene_list: str = Field("", description="its genes in order: JSON, text, table or .h5ad; empty: that of the card")


class GeneList(Strict):
    """What is made of a gene list that is not known."""

    any_order: bool = Field(
        False, description="take a gene list whose checksum is not the known one for the published checkpoint, too"
    )


class FineTuning(Strict):
    """The published fine-tuning on the labels of training conditions."""

    epochs: int = Field(100, ge=1, description="passes over the cells, at most; the best on a fifth of them is kept")
    patience: int = Field(10, ge=0, description="epochs without better accuracy that are waited for; one more ends it")
    lr: float = Field(1e-4, gt=0, description="highest learning rate of Adam's first cycle")
    batch_size: int = Field(3, ge=1, description="cells per batch")
    accumulation_steps: int = Field(60, ge=1, description="batches whose gradients make a step")
    most_cells: int = Field(5000, ge=10, description="cells that are drawn to be fine-tuned on")
    smallest_condition: int = Field(6, ge=2, description="conditions with less of the drawn cells are left out")


class Cells(Strict):
    """Which cells are used, and how many for an embedding."""

    min_genes: int = Field(200, ge=1, description="cells that express less genes of the list are left out")
    control_cells: int = Field(100, ge=1, description="control cells, drawn with replacement, of an embedding")


class Procedure(Strict):
    """Quirks of the published code: ``procedure`` chooses all of them, each parameter one; README.md describes them."""

    procedure: Literal["paper", "corrected"] = Field(
        "paper", description="keep the quirks of the published procedure, or do what it means"
    )
    position_table: PositionTable | None = Field(
        None, description="embeddings are computed without the table of gene vectors (off), or with it"
    )
    embedded_cells: EmbeddedCells | None = Field(
        None, description="the first 3 of a condition's control cells are embedded, or all"
    )
    embedding_mean: EmbeddingMean | None = Field(
        None, description="the sum over embedded cells is divided by control_cells, or by their number"
    )
    sampling: Sampling | None = Field(
        None, description="cells of training and validation are drawn with replacement, or each once an epoch"
    )
    key_maximum: KeyMaximum | None = Field(
        None, description="in fine-tuning, keys are scaled by the maximum of the batch, or of each cell"
    )
    accumulation: Accumulation | None = Field(
        None, description="gradients of the batches of a step are added up, or averaged"
    )
    finetuning_seed: FineTuningSeed | None = Field(
        None, description="fine-tuning is the same whatever the training seed, or starts from it"
    )


@dataclass(frozen=True)
class Choices:
    """The quirks as they are done, each with a value."""

    position_table: PositionTable
    embedded_cells: EmbeddedCells
    embedding_mean: EmbeddingMean
    sampling: Sampling
    key_maximum: KeyMaximum
    accumulation: Accumulation
    finetuning_seed: FineTuningSeed


PROCEDURES = {
    "paper": Choices(
        position_table="off", embedded_cells="first_3", embedding_mean="hundredth", sampling="replacement",
        key_maximum="batch", accumulation="sum", finetuning_seed="fixed",
    ),
    "corrected": Choices(
        position_table="on", embedded_cells="all", embedding_mean="true", sampling="epoch", key_maximum="cell",
        accumulation="mean", finetuning_seed="run",
    ),
}  # fmt: skip


class Settings(Strict):
    """Parameters of the model."""

    procedure: Procedure = Procedure()
    finetuning: FineTuning = FineTuning()
    cells: Cells = Cells()
    decoding: Decoding = Decoding()
    listing: GeneList = GeneList()
    files: FileNames = FileNames()

    def choices(self) -> Choices:
        """Return what each quirk's parameter says, and for those that say nothing, the procedure."""
        return choose_quirks(self.procedure, PROCEDURES)


class EmbeddingSettings(Strict):
    """Parameters of the gene embedding."""

    listing: GeneList = GeneList()
    files: FileNames = FileNames()
