"""What a plugin offers: the card that ``describe()`` returns."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pertharness.contract.protocol import PROTOCOL

# A name appears in file names, options and tables; no bracket, because `linear[k=4]` is a model with a parameter.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
PackageFile = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$")]
"""A file in the package of the plugin's module, by its path there: found without importing the plugin."""
TaskKind = Literal["double", "single", "transfer"]

PRELOADED = frozenset({
    "anndata", "h5py", "matplotlib", "networkx", "numba", "numpy", "pandas", "patsy", "scipy", "sklearn", "statsmodels",
    "torch",
})  # fmt: skip
"""Libraries whose modules a card may name in ``preload``: no code of the plugin's author runs where its jobs fork."""


class _Strict(BaseModel):
    """A card's part: an unknown field is an error, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RemoteFile(_Strict):
    """A file that the harness fetches before a job: a dataset, weights, or a side file such as a gene ontology."""

    url: str
    filename: str
    """A plain name, also that of the local file; of several files of a plugin each has its own."""
    sha256: str | None = None
    """Of the file as published. None: not known; recorded when it is first fetched and checked from then on."""
    member: str | None = None
    """Name of the wanted file inside an archive; its folder there does not matter."""
    size_mb: float | None = None
    licence: str = "unknown"
    """SPDX identifier where there is one; weights whose licence is not a known open one have to be confirmed."""
    optional: bool = False
    """Of weights and side files: a job is done without it, and the plugin decides what that means."""

    @property
    def wanted(self) -> str:
        """Name of the file that a hook gets: the archive's member, or the file itself."""
        return self.member or self.filename


class Needs(_Strict):
    """The hardware that a model cannot do without."""

    cuda: str | None = None
    """Smallest CUDA version, e.g. ``"12.1"``; None: runs without a GPU."""
    gpu_memory_gb: float = 0.0
    ram_gb: float = 0.0
    disk_gb: float = 0.0
    """Free space for what a job writes while it runs."""


class SideFile(_Strict):
    """A file that belongs to a dataset, such as an ontology of its genes, for the models that take it by name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$")]
    """As in ``files`` of the hooks; of a published one the name of the file itself."""
    summary: str = ""
    source: RemoteFile | None = None
    """Where it is published, with its sha256; None: a CSV that the plugin makes in ``make_side_file``."""

    @model_validator(mode="after")
    def _can_be_had(self) -> SideFile:
        if self.source is not None and self.source.wanted != self.name:
            raise ValueError(f"the side file {self.name!r} is published as {self.source.wanted!r}; give it that name")
        if self.source is None and not self.name.endswith(".csv"):
            raise ValueError(f"the side file {self.name!r} is made by the plugin; expected a CSV, a name in .csv")
        return self


class ParameterHelp(_Strict):
    """What a parameter takes and does, as ``pertharness list -v`` shows it."""

    type: str = ""
    """In words, with its bounds: ``integer >= 1``."""
    help: str = ""


class Offer(_Strict):
    """What datasets, embeddings, models and scorers have in common."""

    name: Name
    summary: str
    params: dict[str, Any] = {}
    """Parameters with their defaults; a recipe may set these and no others."""
    params_help: dict[str, ParameterHelp] = {}
    """Parameter -> what it takes and does; `pertharness.settings_of` makes both of a pydantic model. Not in keys."""

    @model_validator(mode="after")
    def _explains_its_own_params(self) -> Offer:
        unknown = sorted(self.params_help.keys() - self.params.keys())
        if unknown:
            raise ValueError(f"{self.name!r} has help on {unknown[0]!r}, which is none of its params; leave it out")
        return self


class DatasetOffer(Offer):
    """A dataset; ``takes_file`` if the user names the file."""

    reference: str = ""
    licence: str = "unknown"
    modality: Literal["crispra", "crispri", "ko"] | None = None
    source: RemoteFile | None = None
    takes_file: bool = False
    side_files: tuple[SideFile, ...] = ()
    """For the jobs of models and embeddings whose cards name them in ``side_files``; no other job depends on them."""
    cheap: bool = False
    """Small and made in seconds: its job is forked from a process that has done the imports that all share."""


class ComputedOffer(Offer):
    """What embeddings and models have in common: what their jobs need, and how these are run."""

    reference: str = ""
    licence: str = "unknown"
    needs: Needs = Needs()
    weights: tuple[RemoteFile, ...] = ()
    """Weights and side files: fetched by ``pertharness weights fetch``, given to the hook as ``files``."""
    side_files: tuple[str, ...] = ()
    """Names of side files that it takes from the dataset of its task, where that declares them; such a file is in
    ``files`` in place of one of ``weights`` with the same name."""
    file_params: tuple[str, ...] = ()
    """Parameters that name files of the user's, by absolute path, or none if empty. Their content enters the key."""
    deterministic: bool = False
    """The training seed changes nothing: done once, whatever the number of training seeds."""
    cheap: bool = False
    """Takes seconds: each such job is forked from a process that has numpy, pandas and anndata imported already."""
    preload: tuple[str, ...] = ()
    """Modules of common libraries (`PRELOADED`) that take long to import: done once, before the processes of many jobs
    start. Others are not imported there."""


class EmbeddingOffer(ComputedOffer):
    """An embedding of genes or perturbations."""

    kinds: tuple[Literal["gene", "perturbation"], ...]
    takes_file: bool = False
    """The recipe names a file, ``NAME:FILE``, which the hook gets as ``source``."""
    takes_reference: bool = False
    """The recipe names another of its datasets, ``NAME:DATASET``, which the hook gets as the only one of
    ``references``: one row per perturbation."""
    any_label: bool = False
    """Has a row for every label, also one that nobody knows, such as random numbers."""


class ModelOffer(ComputedOffer):
    """A model, what it needs and what it knew beforehand."""

    tasks: tuple[TaskKind, ...]
    input: Literal["cells", "pseudobulk"]
    output: Literal["mean", "cells"] = "mean"
    slots: dict[str, Literal["gene", "perturbation"]] = {}
    """Embeddings that ``fit`` takes: slot -> what its rows are, e.g. ``{"G": "gene", "P": "perturbation"}``."""
    uses_validation: bool = False
    constant: bool = False
    """Answers all queries alike by design; the leaderboard marks a model that does so without saying it here."""
    copies_training: bool = False
    """Answers with means of the training data, as they are, by design: the control's, or a training perturbation's."""
    pretraining: str = "none"
    pretraining_overlap: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the pretraining corpus holds data of the task."""
    information: Literal["controls", "training", "prior knowledge", "same gene in another context", "oracle"]
    oracle: Literal["target_expression"] | None = None
    reviewed_by: str | None = None


class MetricOffer(_Strict):
    """A metric, so that a table can be read without its code."""

    id: Name
    version: int = 1
    level: Literal["perturbation", "gene", "entry", "curve", "task", "dataset"] = "perturbation"
    direction: Literal["lower", "higher"]
    best: float | None
    """None: there is no best value, better ones are always possible."""
    chance: float | None = None
    variants: tuple[str, ...] = ("default",)
    unranked: tuple[str, ...] = ()
    """Variants whose values of two models are no match, such as sums over the genes that a model happens to predict."""
    summary: str = ""
    reference: str = ""


class TableOffer(_Strict):
    """A table beside the scores, an artefact of the same name: the harness joins those of all models and splits."""

    name: Name
    version: int = 1
    level: Literal["perturbation", "gene", "entry", "curve", "task", "dataset"]
    """Those of the level ``dataset`` say nothing of a prediction: the joined table holds them once."""
    largest: tuple[str, int] | None = None
    """Column and number: of the rows of a model's splits together, only so many with the largest absolute values."""
    count: tuple[str, ...] = ()
    """Columns by whose values the remaining rows of a model are counted, in place of the rows themselves."""
    summary: str = ""
    reference: str = ""


class ScorerOffer(Offer):
    """A scorer, the metrics that it computes and the tables that it leaves beside them."""

    metrics: tuple[MetricOffer, ...] = ()
    tables: tuple[TableOffer, ...] = ()
    tasks: tuple[TaskKind, ...] = ("double", "single", "transfer")
    """Kinds of task that it can score; it gets no others. ``transfer`` alone: only with references."""
    preload: tuple[str, ...] = ()
    """Modules of common libraries (`PRELOADED`) that take long to import: done once, before the processes of many jobs
    start. Others are not imported there."""
    calibrates: bool = False
    """Asked only when a run calibrates, on data that have cells or halves of them: truth and screen then carry
    ``layers["half_a"]`` and ``layers["half_b"]``, means over two halves of each perturbation's cells (NaN where there
    are none), and where known ``layers["variance"]`` (n - 1, over the cells) and ``obs["n_cells"]``."""

    @model_validator(mode="after")
    def _has_metrics_or_tables(self) -> ScorerOffer:
        if not self.metrics and not self.tables:
            raise ValueError(f"the scorer {self.name!r} has no metrics and no tables; expected at least one")
        return self


class RecipeOffer(_Strict):
    """A published benchmark to run again: its recipes and, to compare with, what was published."""

    name: Name
    summary: str
    """Its authors and year, which head the tables of the comparison."""
    doi: str = ""
    recipes: dict[Name, PackageFile] = Field(min_length=1)
    """Short name, such as ``double`` -> recipe: a TOML file in the plugin's package, by its path there. ``pertharness
    run`` knows it by the name of the file."""
    numbers: PackageFile | Literal[""] = ""
    """The published numbers: a CSV in the package, whose columns ``docs/reproduce.md`` lists."""
    source_data: tuple[str, ...] = ()
    """Names of the Excel files with the article's values, which the user has to fetch."""
    aliases: dict[str, str] = {}
    """Other names of models and datasets in these files -> ours; in lower case, ``_`` for all but letters, digits."""


class Card(_Strict):
    """All that a plugin offers, and the version of the hook protocol that it was written for."""

    protocol: int = PROTOCOL
    datasets: tuple[DatasetOffer, ...] = ()
    embeddings: tuple[EmbeddingOffer, ...] = ()
    models: tuple[ModelOffer, ...] = ()
    scorers: tuple[ScorerOffer, ...] = ()
    recipes: tuple[RecipeOffer, ...] = ()

    @model_validator(mode="after")
    def _names_each_file_once(self) -> Card:
        offered = [file for offer in self.embeddings for file in offer.weights]
        offered += [file for offer in self.models for file in offer.weights]
        offered += [file.source for offer in self.datasets for file in offer.side_files if file.source is not None]
        first: dict[str, RemoteFile] = {}
        origins: dict[str, str] = {}
        for file in offered:
            same = first.setdefault(file.wanted, file).model_copy(update={"optional": file.optional})
            if same != file or origins.setdefault(file.filename, file.url) != file.url:
                raise ValueError(f"two different files are called {file.wanted!r}; give each a name of its own")
        return self
