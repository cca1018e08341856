"""The parameters of the models: the published settings as defaults, and which quirks of the published code are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pertharness_foundation.decoder import Decoding
from pertharness_foundation.settings import Strict, choose_quirks
from pydantic import Field

MaskMode = Literal["upstream", "masked"]
CountRounding = Literal["truncate", "round"]
PastedValues = Literal["log", "counts"]
Filtering = Literal["sampled", "off"]
ControlDraws = Literal["replacement", "distinct"]
UnknownTargets = Literal["ignored", "unanswered"]


class FileNames(Strict):
    """A file of the user's, by its absolute path; empty: the file of the card."""

    checkpoint: str = Field("", description="checkpoint in the published layout; empty: the one of the card")
    symbols: str = Field(
        "", description="protein embeddings by human symbol, or a .txt of the symbols in their order; empty: the card's"
    )
    chromosomes: str = Field("", description="species_chrom.csv of that checkpoint; empty: the one of the card")
    offsets: str = Field("", description="species_offsets.pkl of that checkpoint; empty: the one of the card")


class Names(Strict):
    """How genes of the data are found among the symbols."""

    gene_table: str = Field(
        "", description="hgnc_complete_set.txt of the HGNC, for genes under other symbols or Ensembl ids; empty: none"
    )


class Sampling(Strict):
    """How the cells of a condition are made, and sentences of them."""

    pool_size: int = Field(100, ge=1, description="control cells that every condition is made of")
    sample_size: int = Field(1024, ge=1, description="genes drawn for the sentence of a cell, with replacement")
    batch_size: int = Field(100, ge=1, description="cells padded to one length, on which mask_mode=upstream depends")
    min_cells: int = Field(10, ge=0, description="cells that a gene is expressed in, with filtering=sampled")
    min_genes: int = Field(25, ge=0, description="genes that a cell expresses, with filtering=sampled")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="numbers of the network on a GPU; auto is float32 (README)"
    )


class Procedure(Strict):
    """Quirks of the published code: ``procedure`` chooses all of them, each parameter one; README.md describes them."""

    procedure: Literal["paper", "corrected"] = Field(
        "paper", description="keep the quirks of the published procedure, or do what it means"
    )
    mask_mode: MaskMode | None = Field(None, description="padding is attended to, a little more than genes, or masked")
    count_rounding: CountRounding | None = Field(
        None, description="recovered counts are cut off, so that many are one too small, or rounded"
    )
    pasted_values: PastedValues | None = Field(
        None, description="what is written over the counts of target genes: log values, or counts"
    )
    filtering: Filtering | None = Field(
        None, description="rare genes and poor cells are left out of the cells of each condition, or never"
    )
    control_draws: ControlDraws | None = Field(None, description="controls are drawn with replacement, or each once")
    unknown_targets: UnknownTargets | None = Field(
        None, description="targets without a token: the others alone make the answer, or it is not given"
    )


@dataclass(frozen=True)
class Choices:
    """The quirks as they are done, each with a value."""

    mask_mode: MaskMode
    count_rounding: CountRounding
    pasted_values: PastedValues
    filtering: Filtering
    control_draws: ControlDraws
    unknown_targets: UnknownTargets


PROCEDURES = {
    "paper": Choices(
        mask_mode="upstream", count_rounding="truncate", pasted_values="log", filtering="sampled",
        control_draws="replacement", unknown_targets="ignored",
    ),
    "corrected": Choices(
        mask_mode="masked", count_rounding="round", pasted_values="counts", filtering="off", control_draws="distinct",
        unknown_targets="unanswered",
    ),
}  # fmt: skip


class Settings(Strict):
    """Parameters of the models."""

    procedure: Procedure = Procedure()
    sampling: Sampling = Sampling()
    decoding: Decoding = Decoding()
    files: FileNames = FileNames()
    names: Names = Names()

    def choices(self) -> Choices:
        """Return what each quirk's parameter says, and for those that say nothing, the procedure."""
        return choose_quirks(self.procedure, PROCEDURES)


class EmbeddingSettings(Strict):
    """Parameters of the gene embedding."""

    files: FileNames = FileNames()
