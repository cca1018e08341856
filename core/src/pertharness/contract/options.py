"""What a stage is asked besides the fields that all jobs have: `Job.options`, one model for each kind of job.

A job's file holds what was given alone, since all of it enters the key: a field that is new here has a default, and
jobs that do not give it keep their keys.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer

from pertharness.contract.cards import ScorerOffer
from pertharness.contract.errors import ContractError
from pertharness.contract.jobs import Job, describe_invalid


class _Options(BaseModel):
    # pydantic 2.0 takes a field called model_record for one of its own.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def written(self) -> dict[str, Any]:
        """Return the options as a job's file and key have them: those that were given."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name in self.model_fields_set}


class DatasetOptions(_Options):
    """Of the stage ``datasets``."""

    dataset: str
    """Its name in the recipe."""


class SideFileOptions(_Options):
    """Of the stage ``side_files``."""

    file: str
    """Its name on the card."""


class EmbeddingOptions(_Options):
    """Of the stage ``embeddings``."""

    kind: Literal["gene", "perturbation"]
    queries: tuple[str, ...] = ()
    """Perturbations that are in no part of the split, whose targets are to have a row, too."""


class ModelOptions(_Options):
    """Of the stage ``predictions``, where a plugin's model is fitted and predicts."""

    score_on: tuple[str, ...]
    """Parts of the split whose perturbations are the queries."""
    keep_model: bool = False
    """Whether the record keeps the fitted model, if its plugin can save it. It changes no prediction, and no key."""


class QueryOptions(_Options):
    """Of the stage ``predictions``, where a model of all the data predicts what a user asks for: no truth, no score."""

    queries: tuple[str, ...]
    """Canonical labels, sorted."""
    model_record: str = ""
    """Key of the record whose model predicts; empty where a model is fitted."""


class OracleOptions(_Options):
    """Of the stage ``oracles``."""

    score_on: tuple[str, ...]
    """Parts of the split whose cells are observed: those whose perturbations a model is asked to predict."""


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
    """Of the stage ``scores``; see `kind_of_score`."""

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
        """Leave out texts for users, and what the leaderboard alone reads: they change no score and so no key."""
        return offer.model_dump(mode="json", exclude={"params_help": True, "metrics": {"__all__": {"covers"}}})


Options = TypeVar("Options", bound=_Options)


def options_of(job: Job, kind: type[Options]) -> Options:
    """Return the options of a job as those of its kind.

    Raises
    ------
    ContractError
        If they are not.
    """
    try:
        return kind.model_validate(job.options)
    except ValidationError as error:
        raise ContractError(
            f"the job {job.key!r} of the stage {job.stage!r} has other options than this version of pertharness "
            f"reads: {describe_invalid(error)}; install the same version of pertharness on both sides"
        ) from None


PredictionKind = Literal["model", "queries", "external", "duplicate"]
PREDICTION_OPTIONS: dict[PredictionKind, type[ModelOptions | QueryOptions | ExternalOptions | DuplicateOptions]] = {
    "model": ModelOptions, "queries": QueryOptions, "external": ExternalOptions, "duplicate": DuplicateOptions,
}  # fmt: skip


def kind_of_prediction(job: Job) -> PredictionKind:
    """Return what a job of the stage ``predictions`` does, by its options and the files that it names.

    Queries of a user's are options. The technical duplicate alone reads halves of cells, and no model's job names a
    file of predictions.
    """
    if "queries" in job.options:
        return "queries"
    if "halves" in job.inputs:
        return "duplicate"
    return "external" if "file" in job.inputs else "model"


def keeps_model(job: Job) -> bool:
    """Return whether the record of a job is to keep the model that it fits, if its plugin can save models."""
    if job.stage != "predictions" or "model" in job.inputs:
        return False
    return kind_of_prediction(job) == "queries" or bool(job.options.get("keep_model"))


ScoreKind = Literal["all", "half", "common-genes"]


def kind_of_score(options: ScoreOptions) -> ScoreKind:
    """Return what a job of the stage ``scores`` compares with: all cells, half of them, or the genes of all models."""
    if options.against is not None:
        return "half"
    return "all" if options.lacking is None else "common-genes"
