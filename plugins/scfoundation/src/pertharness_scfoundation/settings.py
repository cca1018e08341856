"""The parameters of the model: the published settings as defaults, and which quirks of the published code are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pertharness_foundation.settings import Strict, choose_quirks
from pydantic import Field

Propagation = Literal["first", "all"]
KeyMaximum = Literal["batch", "cell", "constant"]
Accumulation = Literal["sum", "mean"]
NetworkSeed = Literal["zero", "run"]
ControlDraws = Literal["query", "shared"]


class FileNames(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="checkpoint in the published layout; empty: models.ckpt of the card")
    gene_list: str = Field("", description="gene list of that checkpoint, a TSV; empty: that of the card")
    gene2go: str = Field("", description="file of the terms of each gene; empty: the data set's or the fetched one")
    gene_table: str = Field("", description="hgnc_complete_set.txt of the HGNC, for other names of genes; empty: none")


class EmbeddingFiles(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="checkpoint in the published layout; empty: models.ckpt of the card")
    gene_list: str = Field("", description="gene list of that checkpoint, a TSV; empty: that of the card")


class Training(Strict):
    """The published training of the graph model."""

    epochs: int = Field(5, ge=1, description="passes over the training cells; the best on val is kept")
    lr: float = Field(0.01, gt=0, description="learning rate of Adam, halved every epoch")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay of Adam")
    batch_size: int = Field(6, ge=2, description="cells per batch; the last incomplete one is left out")
    accumulation_steps: int = Field(5, ge=1, description="batches whose gradients make a step")
    direction_lambda: float = Field(0.1, ge=0, description="weight of the loss on the direction of change")


class Predicting(Strict):
    """How a prediction is made."""

    control_cells: int = Field(300, ge=1, description="control cells, drawn with replacement, of a prediction")
    predict_batch_size: int = Field(5, ge=1, description="cells predicted at a time, which the quirks depend on")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="numbers of the pretrained network on a GPU; auto is float32 (README)"
    )


class Procedure(Strict):
    """Quirks of the published code: ``procedure`` chooses all of them, each parameter one; README.md describes them."""

    procedure: Literal["paper", "corrected"] = Field(
        "paper", description="keep the quirks of the published procedure, or do what it means"
    )
    propagation: Propagation | None = Field(
        None, description="the co-expression graph smooths the first cell of a batch alone, or all cells"
    )
    key_maximum: KeyMaximum | None = Field(
        None, description="keys of the decoder are scaled by the maximum of the batch, of each cell, or a constant"
    )
    accumulation: Accumulation | None = Field(
        None, description="gradients of the batches of a step are added up, or averaged"
    )
    network_seed: NetworkSeed | None = Field(
        None, description="the graph model starts from seed 0 whatever the training seed, or from that of the run"
    )
    control_draws: ControlDraws | None = Field(
        None, description="controls of a prediction are drawn for each query, or once for all"
    )


@dataclass(frozen=True)
class Choices:
    """The quirks as they are done, each with a value."""

    propagation: Propagation
    key_maximum: KeyMaximum
    accumulation: Accumulation
    network_seed: NetworkSeed
    control_draws: ControlDraws


PROCEDURES = {
    "paper": Choices(
        propagation="first", key_maximum="batch", accumulation="sum", network_seed="zero", control_draws="query"
    ),
    "corrected": Choices(
        propagation="all", key_maximum="constant", accumulation="mean", network_seed="run", control_draws="shared"
    ),
}


class Settings(Strict):
    """Parameters of the model."""

    procedure: Procedure = Procedure()
    training: Training = Training()
    predicting: Predicting = Predicting()
    files: FileNames = FileNames()

    def choices(self) -> Choices:
        """Return what each quirk's parameter says, and for those that say nothing, the procedure."""
        return choose_quirks(self.procedure, PROCEDURES)


class EmbeddingSettings(Strict):
    """Parameters of the gene embedding."""

    files: EmbeddingFiles = EmbeddingFiles()
