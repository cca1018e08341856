"""The parameters of the model: the published settings as defaults, and which quirks of the published code are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pertharness_foundation.decoder import Decoding
from pertharness_foundation.settings import Strict, choose_quirks
from pydantic import Field

AbsentTarget = Literal["paper", "skip_cell", "no_op"]
ControlEmbedding = Literal["zero", "own"]
Symbols = Literal["first_key", "any_key"]
Layer = Literal["last", "second_to_last"]
Pooling = Literal["cls", "mean"]


class FileNames(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="model.safetensors in the published layout; empty: that of the card")
    config: str = Field("", description="config.json of that checkpoint; empty: that of the card")
    tokens: str = Field("", description="token dictionary of that checkpoint, a pickle; empty: that of the card")
    medians: str = Field("", description="dictionary of median expression, a pickle; empty: that of the card")
    mapping: str = Field("", description="dictionary of symbols and Ensembl ids, a pickle; empty: that of the card")


class EmbeddingFiles(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="model.safetensors in the published layout; empty: that of the card")
    config: str = Field("", description="config.json of that checkpoint; empty: that of the card")
    tokens: str = Field("", description="token dictionary of that checkpoint, a pickle; empty: that of the card")
    mapping: str = Field("", description="dictionary of symbols and Ensembl ids, a pickle; empty: that of the card")


class Training(Strict):
    """The published fine-tuning: a classifier of the training conditions."""

    epochs: int = Field(10, ge=1, description="passes over the training cells")
    batch_size: int = Field(12, ge=1, description="cells per step, and per step of the held-out loss")
    lr: float = Field(5e-5, gt=0, description="learning rate of AdamW; falls in a line to 0, without warm-up")
    weight_decay: float = Field(1e-3, ge=0, description="of AdamW, not of biases and gains of norms")
    frozen_layers: int = Field(2, ge=0, description="first layers of the encoder that are not trained")
    cells_per_class: int = Field(300, ge=1, description="cells of a condition, at most; the others are not used")


class Embedding(Strict):
    """From control cells to the embedding of a condition."""

    perturbation: Literal["auto", "delete", "overexpress"] = Field(
        "auto",
        description=(
            "what is done to the targets in the list of genes of a cell; auto: overexpress for a screen by CRISPRa, "
            "delete for CRISPRi and knock-outs, as the dataset declares it"
        ),
    )
    pool_size: int = Field(150, ge=1, description="control cells that are perturbed, drawn without replacement")
    layer: Layer = Field("last", description="layer whose output is taken; the package itself takes the second to last")
    pooling: Pooling = Field("cls", description="vector of a cell: that of the class token, or the mean over its genes")
    forward_batch_size: int = Field(100, ge=1, description="cells computed at a time; changes no number")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32", description="numbers of the layers, in training too; auto: bfloat16 where it is shown to be enough"
    )


class Procedure(Strict):
    """Quirks of the published code: ``procedure`` chooses all of them, each parameter one; README.md describes them."""

    procedure: Literal["paper", "corrected"] = Field(
        "paper", description="keep the quirks of the published procedure, or do what it means"
    )
    absent_target: AbsentTarget | None = Field(
        None,
        description=(
            "a cell that does not express the target to be deleted: loses the token 100th from its end (paper), is "
            "left out (skip_cell), or stays as it is (no_op)"
        ),
    )
    control_embedding: ControlEmbedding | None = Field(
        None, description="embedding of the control: zeros, or that of its own cells"
    )
    symbols: Symbols | None = Field(
        None, description="symbols of genes without an Ensembl id: the first one of an id alone, or all, in any case"
    )


@dataclass(frozen=True)
class Choices:
    """The quirks as they are done, each with a value."""

    absent_target: AbsentTarget
    control_embedding: ControlEmbedding
    symbols: Symbols


PROCEDURES = {
    "paper": Choices(absent_target="paper", control_embedding="zero", symbols="first_key"),
    "corrected": Choices(absent_target="skip_cell", control_embedding="own", symbols="any_key"),
}


class Settings(Strict):
    """Parameters of the model."""

    procedure: Procedure = Procedure()
    training: Training = Training()
    cells: Embedding = Embedding()
    decoding: Decoding = Decoding()
    files: FileNames = FileNames()

    def choices(self) -> Choices:
        """Return what each quirk's parameter says, and for those that say nothing, the procedure."""
        return choose_quirks(self.procedure, PROCEDURES)


class EmbeddingSettings(Strict):
    """Parameters of the embedding of genes."""

    files: EmbeddingFiles = EmbeddingFiles()
