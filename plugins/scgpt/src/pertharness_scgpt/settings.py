"""The parameters of the model: the published settings as defaults, and which quirks of the published code are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pertharness_foundation.settings import Strict, choose_quirks
from pydantic import Field

GeneSubset = Literal["uniform", "with_targets"]
PredictSequence = Literal["all", "chunks"]
UnknownGenes = Literal["padding", "excluded"]
DecoderInit = Literal["fresh", "checkpoint"]
Pairing = Literal["once", "every_epoch"]
ValSubset = Literal["random", "fixed"]
Index0Flag = Literal["sign", "one"]
CtrlPairs = Literal["identity", "random", "left_out"]
Precision = Literal["auto", "float16", "bfloat16", "float32"]


class FileNames(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="checkpoint in the published layout; empty: best_model.pt of the card")
    vocabulary: str = Field("", description="vocab.json of that checkpoint; empty: the one of the card")
    arguments: str = Field("", description="args.json of that checkpoint; empty: the one of the card")


class Names(Strict):
    """How genes of the data are found in the vocabulary."""

    gene_table: str = Field(
        "", description="hgnc_complete_set.txt of the HGNC, for genes under other symbols or Ensembl ids; empty: none"
    )


class Training(Strict):
    """The published fine-tuning."""

    epochs: int = Field(15, ge=1, description="passes over the training pairs, at most")
    patience: int = Field(5, ge=1, description="epochs without a better validation loss that end the training")
    lr: float = Field(1e-4, gt=0, description="learning rate of Adam in the first epoch")
    lr_factor: float = Field(0.9, gt=0, le=1, description="factor of the learning rate after every epoch")
    batch_size: int = Field(64, ge=1, description="pairs of cells per step; the last incomplete batch is left out")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of values dropped in training")
    max_seq_len: int = Field(1536, ge=2, description="genes per training step, of data that have more")


class Predicting(Strict):
    """How a prediction is made."""

    pool_size: int = Field(100, ge=1, description="control cells, drawn with replacement, that a prediction averages")
    eval_batch_size: int = Field(64, ge=1, description="most cells predicted at a time; changes no number")


class Procedure(Strict):
    """Quirks of the published code: ``procedure`` chooses all of them, each parameter one; README.md describes them."""

    procedure: Literal["paper", "corrected"] = Field(
        "paper", description="keep the quirks of the published procedure, or do what it means"
    )
    gene_subset: GeneSubset | None = Field(None, description="genes of a step: uniform, or with the perturbed ones")
    predict_sequence: PredictSequence | None = Field(
        None, description="predict all genes in one sequence, or in random chunks as long as those of training"
    )
    unknown_genes: UnknownGenes | None = Field(
        None, description="genes outside the vocabulary: share the padding token, or are excluded and not predicted"
    )
    decoder_init: DecoderInit | None = Field(None, description="decoder starts fresh, or from the checkpoint")
    pairing: Pairing | None = Field(None, description="perturbed cells get a control once, or anew every epoch")
    val_subset: ValSubset | None = Field(
        None, description="genes of validation: random every time, batches weighted alike, or fixed, cells alike"
    )
    index0_flag: Index0Flag | None = Field(None, description="flag of a target that is the first gene: 0, or 1")
    ctrl_pairs: CtrlPairs | None = Field(
        None, description="controls in training: paired with themselves, with another control, or left out"
    )
    precision: Precision | None = Field(None, description="numbers of the layers on a GPU; on a CPU float32")


@dataclass(frozen=True)
class Choices:
    """The quirks as they are done, each with a value.

    ``precision`` is that on a GPU; on a CPU it is float32, as in the published code.
    """

    gene_subset: GeneSubset
    predict_sequence: PredictSequence
    unknown_genes: UnknownGenes
    decoder_init: DecoderInit
    pairing: Pairing
    val_subset: ValSubset
    index0_flag: Index0Flag
    ctrl_pairs: CtrlPairs
    precision: Precision


PROCEDURES = {
    "paper": Choices(
        gene_subset="uniform", predict_sequence="all", unknown_genes="padding", decoder_init="fresh", pairing="once",
        val_subset="random", index0_flag="sign", ctrl_pairs="identity", precision="float16",
    ),
    "corrected": Choices(
        gene_subset="with_targets", predict_sequence="chunks", unknown_genes="excluded", decoder_init="checkpoint",
        pairing="every_epoch", val_subset="fixed", index0_flag="one", ctrl_pairs="random", precision="auto",
    ),
}  # fmt: skip


class Settings(Strict):
    """Parameters of the model."""

    procedure: Procedure = Procedure()
    training: Training = Training()
    predicting: Predicting = Predicting()
    files: FileNames = FileNames()
    names: Names = Names()

    def choices(self) -> Choices:
        """Return what each quirk's parameter says, and for those that say nothing, the procedure."""
        return choose_quirks(self.procedure, PROCEDURES)


class EmbeddingSettings(Strict):
    """Parameters of the embedding."""

    files: FileNames = FileNames()
