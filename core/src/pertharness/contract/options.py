"""What a stage is asked besides the fields that all jobs have: `Job.options`, one model for each kind of job.

A job's file holds what was given alone, since all of it enters the key: a field that is new here has a default, and
jobs that do not give it keep their keys.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_serializer

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.jobs import Job


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def written(self) -> dict[str, Any]:
        """Return the options as a job's file and key have them: those that were given."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name in self.model_fields_set}


class DatasetOptions(_Options):
    """Of the stage ``datasets``."""

    dataset: str
    """Its name in the recipe."""


class EmbeddingOptions(_Options):
    """Of the stage ``embeddings``."""

    kind: Literal["gene", "perturbation"]


class ModelOptions(_Options):
    """Of the stage ``predictions``, where a plugin's model is fitted and predicts."""

    score_on: tuple[str, ...]
    """Parts of the split whose perturbations are the queries."""


class ExternalOptions(_Options):
    """Of the stage ``predictions``, where a file of predictions that were made elsewhere is read."""

    score_on: tuple[str, ...]
    """Parts of the split whose perturbations are the queries."""
    reading: int
    """How such files are read, as a number: raised when one may be read otherwise."""
    prediction_kind: Literal["mean", "change"] | None = None
    """What the values are; None where the file itself tells."""
    prediction_columns: dict[str, str] = {}
    """Where labels, genes and values are in the file: ``label_column``, ``gene_column``, ``layer``."""
    dataset_params: dict[str, Any] = {}
    """Parameters of the dataset's file that hold for the labels and the scale of this one, too."""


class DuplicateOptions(_Options):
    """Of the stage ``predictions``, where the technical duplicate is read from the first halves of the cells."""

    score_on: tuple[str, ...]
    """Parts of the split whose perturbations are the queries."""


class ScoreOptions(_Options):
    """Of the stage ``scores``: the kinds of score job are told apart by what is given."""

    score_on: tuple[str, ...]
    """Parts of the split whose perturbations are scored."""
    offer: ScorerOffer
    """The scorer, from its plugin's card."""
    against: Literal["half_b"] | None = None
    """Score against the second halves of the cells, in place of all cells."""
    lacking: tuple[str, ...] | None = None
    """Genes that one of the compared models lacks: the others alone count for the variant ``common-genes``."""

    @field_serializer("offer")
    def _without_help(self, offer: ScorerOffer) -> dict[str, Any]:
        """Leave out texts for users, which change no score and so no key."""
        return offer.model_dump(mode="json", exclude={"params_help"})


PredictionKind = Literal["model", "external", "duplicate"]
PREDICTION_OPTIONS: dict[PredictionKind, type[ModelOptions | ExternalOptions | DuplicateOptions]] = {
    "model": ModelOptions, "external": ExternalOptions, "duplicate": DuplicateOptions,
}  # fmt: skip


def kind_of_prediction(job: Job) -> PredictionKind:
    """Return what a job of the stage ``predictions`` does, by the files that it names.

    The technical duplicate alone reads halves of cells, and no model's job names a file of predictions.
    """
    if "halves" in job.inputs:
        return "duplicate"
    return "external" if "file" in job.inputs else "model"
