"""Cards: the offers of a plugin, as ``describe()`` returns them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pertharness.contract.protocol import PROTOCOL

# A name appears in file names, options and tables; no bracket, because `linear[k=4]` is a model with a parameter.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
PackageFile = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$")]
"""Path of a file in the package of the plugin's module; found without importing the plugin."""
TaskKind = Literal["double", "single", "transfer"]

PRELOADED = frozenset({
    "anndata", "h5py", "matplotlib", "networkx", "numba", "numpy", "pandas", "patsy", "scipy", "sklearn", "statsmodels",
    "torch",
})  # fmt: skip
"""Libraries whose modules a card may name in ``preload``, so that no plugin code runs where its jobs are forked."""


class _Strict(BaseModel):
    """A card's part: an unknown field is an error, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RemoteFile(_Strict):
    """A file that the harness fetches before a job: a dataset, weights, or a side file such as a gene ontology."""

    url: str
    filename: str
    """Plain name of the file, also the local one; unique within the plugin."""
    by_hand: str = ""
    """Where `url` is a page and no direct link: what to do there in a browser, such as ``"open the folder whole-human
    and download best_model.pt"``. The harness shows these steps, and fetches nothing."""
    sha256: str | None = None
    """Checksum of the published file. None: unknown; recorded at the first download, and checked from then on."""
    md5: str | None = None
    """Where no sha256 is published: checked before the sha256 is recorded. It finds other and damaged files, and does
    not protect against forged ones."""
    member: str | None = None
    """Name of the needed file inside an archive, in any folder there."""
    size_mb: float | None = None
    licence: str = "unknown"
    """SPDX identifier if there is one; users must accept weights with a licence that is not a known open one."""
    optional: bool = False
    """Whether weights or a side file may be missing; the plugin decides what that means."""

    @property
    def wanted(self) -> str:
        """Name of the file that a hook gets: the archive's member, or the file itself."""
        return self.member or self.filename


class Needs(_Strict):
    """The hardware that a model requires."""

    cuda: str | None = None
    """Lowest CUDA version, e.g. ``"12.1"``; None: runs without a GPU."""
    gpu_memory_gb: float = 0.0
    ram_gb: float = 0.0
    disk_gb: float = 0.0
    """Free disk space for the files that a job writes while it runs."""


class SideFile(_Strict):
    """A file that belongs to a dataset, such as an ontology of its genes, for models that request it by name."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$")]
    """Name in ``files`` of the hooks; for a published file, its own name."""
    summary: str = ""
    source: RemoteFile | None = None
    """The published file, with its sha256; None: a CSV that the plugin makes in ``make_side_file``."""

    @model_validator(mode="after")
    def _can_be_had(self) -> SideFile:
        if self.source is not None and self.source.wanted != self.name:
            raise ValueError(f"the side file {self.name!r} is published as {self.source.wanted!r}; give it that name")
        if self.source is None and not self.name.endswith(".csv"):
            raise ValueError(f"the side file {self.name!r} is made by the plugin; expected a CSV, a name in .csv")
        return self


class ParameterHelp(_Strict):
    """Type and help of a parameter, shown by ``pertharness list -v``."""

    type: str = ""
    """Type in words, with bounds: ``integer >= 1``."""
    help: str = ""
    formerly: tuple[str, ...] = ()
    """Names that it had in earlier versions of the plugin: a recipe that has one of them is told the present name."""


class Offer(_Strict):
    """The common part of datasets, embeddings, models and scorers."""

    name: Name
    summary: str
    params: dict[str, Any] = {}
    """Parameters with their defaults; a recipe can set only these."""
    params_help: dict[str, ParameterHelp] = {}
    """Parameter -> type and help; `pertharness.settings_of` makes both from a pydantic model. Not part of keys."""

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
    """Files for jobs of models and embeddings whose cards list them in ``side_files``; no other job depends on them."""
    cheap: bool = False
    """Whether it is small and made in seconds: its job is forked from a process that has done the common imports."""


class ComputedOffer(Offer):
    """The common part of embeddings and models: the needs of their jobs, and how these run."""

    reference: str = ""
    licence: str = "unknown"
    needs: Needs = Needs()
    weights: tuple[RemoteFile, ...] = ()
    """Weights and side files, fetched by ``pertharness weights fetch`` and passed to the hook as ``files``."""
    side_files: tuple[str, ...] = ()
    """Names of side files to take from the dataset of the task, if that has them; in ``files``, they replace weights of
    the same name."""
    file_params: tuple[str, ...] = ()
    """Parameters that are absolute paths of files, or empty. The content of the files enters the key."""
    replaces_weights: dict[str, tuple[str, ...]] = {}
    """Weights that a file of ``file_params`` replaces: parameter -> names in ``weights``, such as
    ``{"checkpoint": ("best_model.pt",)}``. If a recipe sets the parameter, those weights are neither fetched nor passed
    to the hook, and the model is called ``NAME (test weights)``, without rank and verdict."""
    deterministic: bool = False
    """Whether the training seed has no effect, so that the job is done once for all training seeds."""
    cheap: bool = False
    """Whether it takes seconds: its jobs are forked from a process that has imported numpy, pandas and anndata."""
    preload: tuple[str, ...] = ()
    """Slow modules of common libraries (`PRELOADED`) to import once, before the processes of many jobs start. Other
    modules are not imported there."""

    @model_validator(mode="after")
    def _replaces_its_own_weights(self) -> ComputedOffer:
        declared = {file.wanted for file in self.weights}
        for parameter, names in self.replaces_weights.items():
            if parameter not in self.file_params or parameter not in self.params:
                raise ValueError(
                    f"{self.name!r}: replaces_weights has {parameter!r}, which names no file; add it to params and to "
                    "file_params"
                )
            if unknown := [name for name in names if name not in declared]:
                raise ValueError(
                    f"{self.name!r}: replaces_weights[{parameter!r}] has {unknown[0]!r}, which is none of its weights: "
                    f"{', '.join(map(repr, sorted(declared))) or 'it has none'}"
                )
        return self


class EmbeddingOffer(ComputedOffer):
    """An embedding of genes or perturbations."""

    kinds: tuple[Literal["gene", "perturbation"], ...]
    takes_file: bool = False
    """Whether the recipe names a file, ``NAME:FILE``, which the hook gets as ``source``."""
    takes_reference: bool = False
    """Whether the recipe names another of its datasets, ``NAME:DATASET``. The hook gets it as the only one of
    ``references``, with one row per perturbation."""
    any_label: bool = False
    """Whether it has a row for every label, even an unknown one, as random numbers do."""


class ModelOffer(ComputedOffer):
    """A model, its needs and its prior knowledge."""

    tasks: tuple[TaskKind, ...]
    input: Literal["cells", "pseudobulk"]
    output: Literal["mean", "cells"] = "mean"
    slots: dict[str, Literal["gene", "perturbation"]] = {}
    """Embeddings that ``fit`` takes: slot -> kind of its rows, e.g. ``{"G": "gene", "P": "perturbation"}``."""
    uses_validation: bool = False
    constant: bool = False
    """Whether it gives one answer to all queries by design; the leaderboard marks models that do so undeclared."""
    copies_training: bool = False
    """Whether it answers with unchanged means of the training data by design: the control, or a perturbation."""
    pretraining: str = "none"
    pretraining_overlap: Literal["yes", "no", "unknown"] = "unknown"
    """Whether the pretraining corpus includes data of the task."""
    information: Literal["controls", "training", "prior knowledge", "same gene in another context", "oracle"]
    oracle: Literal["target_expression"] | None = None
    """What ``predict`` is given of the held-out cells, where the published protocol needs it: the expression of their
    target genes. Then `information` is ``"oracle"``, and every table marks the model."""
    gene_list: str | None = None
    """For a model with an oracle, the file that lists the genes that it knows: the name of one of its weights, or of
    what a parameter of `replaces_weights` puts in its place. The oracle then has totals over these genes, too."""
    reviewed_by: str | None = None

    @model_validator(mode="after")
    def _declares_its_oracle(self) -> ModelOffer:
        if (self.oracle is None) == (self.information == "oracle"):
            raise ValueError(
                f"{self.name!r} has oracle={self.oracle!r} and information={self.information!r}; a model that is given "
                "observed values of held-out cells says both: oracle='target_expression', information='oracle'"
            )
        if self.gene_list is None:
            return self
        if self.oracle is None:
            raise ValueError(f"{self.name!r} has gene_list={self.gene_list!r} and no oracle, which alone reads it")
        needed = [file.wanted for file in self.weights if not file.optional]
        if self.gene_list not in needed:
            raise ValueError(
                f"{self.name!r} has gene_list={self.gene_list!r}, which is none of the weights that it needs: "
                f"{', '.join(map(repr, sorted(needed))) or 'it has none'}"
            )
        for parameter, names in self.replaces_weights.items():
            if self.gene_list in names and len(names) > 1:
                raise ValueError(
                    f"{self.name!r}: replaces_weights[{parameter!r}] has the gene list {self.gene_list!r} among "
                    "others; give the list a parameter of its own"
                )
        return self


class MetricOffer(_Strict):
    """A metric, so that a table can be read without its code."""

    id: Name
    version: int = 1
    level: Literal["perturbation", "gene", "entry", "curve", "task", "dataset"] = "perturbation"
    direction: Literal["lower", "higher"]
    best: float | None
    """Best value; None if a better one is always possible."""
    chance: float | None = None
    variants: tuple[str, ...] = ("default",)
    covers: Literal["answers", "doubles"] = "answers"
    """Which answers a value of a whole split covers: all, or those to doubles of which the data have both singles.
    Models are ranked if they gave the same of these. Not part of keys."""
    unranked: tuple[str, ...] = ()
    """Variants that cannot be compared between models, such as sums over the genes that a model predicts."""
    summary: str = ""
    reference: str = ""


class TableOffer(_Strict):
    """A table of a scorer, an artefact of the same name; the harness joins those of all models and splits."""

    name: Name
    version: int = 1
    level: Literal["perturbation", "gene", "entry", "curve", "task", "dataset"]
    """Tables of the level ``dataset`` do not depend on a prediction, so the joined table has their rows once."""
    largest: tuple[str, int] | None = None
    """Column and number: the joined table has this many rows per model, with the largest absolute values."""
    count: tuple[str, ...] = ()
    """Columns to count the remaining rows of a model by, instead of keeping the rows."""
    summary: str = ""
    reference: str = ""


class ScorerOffer(Offer):
    """A scorer, with its metrics and tables."""

    metrics: tuple[MetricOffer, ...] = ()
    tables: tuple[TableOffer, ...] = ()
    tasks: tuple[TaskKind, ...] = ("double", "single", "transfer")
    """Kinds of task that it can score; it gets no others. ``transfer`` alone: only tasks with references."""
    preload: tuple[str, ...] = ()
    """Slow modules of common libraries (`PRELOADED`) to import once, before the processes of many jobs start. Other
    modules are not imported there."""
    calibrates: bool = False
    """Whether it runs only if a run calibrates, on data with cells or halves. Truth and screen then have
    ``layers["half_a"]`` and ``layers["half_b"]``, means over two halves of each perturbation's cells (NaN if there are
    none), and ``layers["variance"]`` (n - 1, over the cells) and ``obs["n_cells"]`` if these are known."""

    @model_validator(mode="after")
    def _has_metrics_or_tables(self) -> ScorerOffer:
        if not self.metrics and not self.tables:
            raise ValueError(f"the scorer {self.name!r} has no metrics and no tables; expected at least one")
        return self


class RecipeOffer(_Strict):
    """A published benchmark to reproduce: its recipes, and the published numbers to compare with."""

    name: Name
    summary: str
    """Authors and year, shown above the tables of the comparison."""
    doi: str = ""
    recipes: dict[Name, PackageFile] = Field(min_length=1)
    """Short name, such as ``double`` -> path of a TOML recipe in the plugin's package. ``pertharness run`` takes the
    name of the file."""
    numbers: PackageFile | Literal[""] = ""
    """The published numbers: a CSV in the package, whose columns ``docs/reproduce.md`` lists."""
    source_data: tuple[str, ...] = ()
    """Names of the Excel files with the article's values, which the user must download."""
    aliases: dict[str, str] = {}
    """Name of a model or dataset in these files, in lower case, with ``_`` for other characters -> name here."""


class Card(_Strict):
    """The offers of a plugin, and the version of the hook protocol that it was written for."""

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
