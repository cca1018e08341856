"""The models of a recipe: datasets, splits, seeds, models, scorers. ``docs/recipe.md`` describes every key."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pertharness.contract.cards import Name
from pertharness.contract.errors import RecipeError
from pertharness.host.recipe.value_types import (
    EmbeddingSpec,  # noqa: F401 - pydantic 2.0 looks for the types of ModelSpec's fields in this module
    ModelSpec,
    parse_model,
    parse_seeds,
)
from pertharness.host.splits import KINDS, MAX_SEED

LABEL_MAP = "label_map"
"""Parameter of a dataset: a table, or the path of a CSV file with it. Only its content enters keys."""


def _list_as_tuple(value: Any) -> Any:
    """Return a list from TOML as a tuple, as frozen models need it."""
    return tuple(value) if isinstance(value, list) else value


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Check that no value is repeated."""
    for i, value in enumerate(values):
        if value in values[:i]:
            spelled = value.text() if isinstance(value, ModelSpec) else value
            raise ValueError(f"duplicate value {spelled!r}; name it once")
    return values


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Check that a list is not empty, where an absent key has another meaning."""
    if not values:
        raise ValueError("expected at least one; leave the key out for its default")
    return values


def _not_blank(text: str) -> str:
    """Check that a reason is not blank."""
    if not text.strip():
        raise ValueError("expected the reason why the model is left out")
    return text


def _of_text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a validator that reads texts with a function and raises errors that pydantic locates."""

    def validate(value: Any) -> Any:
        try:
            return read(value) if isinstance(value, str) else value
        except RecipeError as error:
            raise ValueError(str(error)) from error

    return validate


def _model(value: Any) -> Any:
    """Read the text of a model; refuse other types."""
    if not isinstance(value, str | ModelSpec):
        raise ValueError(f"expected the name of a model as text, got {value!r}")
    return _of_text(parse_model)(value)


def _no_grids(specs: tuple[ModelSpec, ...]) -> tuple[ModelSpec, ...]:
    """Check that every value is fixed, where nothing selects among several."""
    for spec in specs:
        if spec.grid:
            key = next(iter(spec.grid))
            raise ValueError(f"{spec.text()!r} has several values of {key!r}; expected one, or quotes around it")
    return specs


def _path(value: Any, info: ValidationInfo) -> Any:
    """Read a path; a relative path starts at the recipe's folder."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"expected the path of a file as text, got {value!r}")
    base: Path = (info.context or {}).get("base", Path())
    try:
        return (base / Path(value).expanduser()).absolute()
    except RuntimeError as error:
        raise ValueError(f"{value!r}: {error}") from error


def _to_text(value: Path | ModelSpec) -> str:
    """Return a value as text for a recipe."""
    return value.text() if isinstance(value, ModelSpec) else str(value)


_TEXT = PlainSerializer(_to_text, return_type=str)
# Names a folder, and appears in tables.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]
OfferName = Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_-]*/)?[A-Za-z][A-Za-z0-9_-]*$")]
RecipePath = Annotated[Path, BeforeValidator(_path), _TEXT]
Model = Annotated[ModelSpec, BeforeValidator(_model), _TEXT]
# A model by name, in the one spelling that names are compared by.
ModelName = Annotated[str, BeforeValidator(_of_text(lambda text: parse_model(text).text()))]
# Why a model is left out; the leaderboard shows it.
Reason = Annotated[str, AfterValidator(_not_blank)]
_MANY, _ONCE, _SOME = BeforeValidator(_list_as_tuple), AfterValidator(_each_once), AfterValidator(_some)
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Seeds = Annotated[tuple[Seed, ...], _MANY, BeforeValidator(_of_text(parse_seeds)), _ONCE, _SOME]
Models = Annotated[tuple[Model, ...], _MANY, _ONCE, _SOME]
Scorers = Annotated[tuple[Model, ...], _MANY, _ONCE, _SOME, AfterValidator(_no_grids)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DatasetChoice(_Part):
    """A dataset of the recipe: an offer of a plugin, with the user's file if the offer takes one."""

    offer: OfferName = ""
    file: RecipePath | None = None
    params: dict[str, Any] = {}

    @field_validator("params", mode="before")
    @classmethod
    def _resolve_label_map(cls, params: Any, info: ValidationInfo) -> Any:
        """Make the path of a label map absolute; a relative path starts at the recipe's folder."""
        if not isinstance(params, dict) or not isinstance(params.get(LABEL_MAP), str):
            return params
        return {**params, LABEL_MAP: str(_path(params[LABEL_MAP], info))}


class SplitChoice(_Part):
    """The split of a task; all other keys are parameters of the kind."""

    model_config = ConfigDict(extra="allow")

    kind: str
    variant: str | None = None
    file: RecipePath | None = None

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the kind."""
        return dict(self.model_extra or {})


class TaskChoice(_Part):
    """A split of one dataset or of all, and the models with which scores are compared."""

    name: Name = ""
    dataset: Label | None = None
    split: SplitChoice
    score_on: Annotated[tuple[Literal["test", "val"], ...], _MANY, _ONCE, _SOME] = ("test",)
    select: Name | None = None
    reference: ModelName = ""
    common_set: Annotated[tuple[ModelName, ...], _MANY, _ONCE] = ()
    references: Annotated[tuple[Label, ...], _MANY, _ONCE] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Set absent keys from others: the name from the split's kind, the reference from the name."""
        if not isinstance(data, dict):
            return data
        split = data.get("split")
        kind = split.get("kind") if isinstance(split, dict) else getattr(split, "kind", None)
        task = KINDS[kind].task if isinstance(kind, str) and kind in KINDS else ""
        usual: dict[str, Any] = {"name": task} if task else {}
        filled = usual | data
        filled.setdefault("reference", "additive" if filled.get("name") == "double" else "mean")
        filled.setdefault("common_set", [filled["reference"]])
        return filled


class PredictionChoice(_Part):
    """A file of predictions that were made outside the harness."""

    name: Name
    file: RecipePath
    dataset: Label = ""
    kind: Literal["mean", "change"] | None = None
    label_column: Annotated[str, Field(min_length=1)] | None = None
    gene_column: Annotated[str, Field(min_length=1)] | None = None
    layer: Annotated[str, Field(min_length=1)] | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Where the file has labels, genes and values, as far as the recipe names it."""
        return self.model_dump(include={"label_column", "gene_column", "layer"}, exclude_none=True)


class ComparisonChoice(_Part):
    """How the leaderboard ranks models and computes intervals."""

    metric: Name = "l2"
    select: Name | None = None
    resamples: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    seed: Seed = 0
    bootstrap: Literal["identity", "rows"] = "identity"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    calibrate: bool = False


def _environment_source(value: Any, info: ValidationInfo) -> Any:
    """Make the path of a folder or a wheel absolute; return names, requirements and addresses unchanged."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected the folder, wheel, requirement or git address of a plugin as text, got {value!r}")
    is_path = "://" not in value and not value.startswith("git+") and ("/" in value or value.endswith(".whl"))
    return str(_path(value, info)) if is_path or value in (".", "..") else value


class EnvironmentChoice(_Part):
    """Source of a plugin's environment: the plugin for `env build`, or an interpreter with everything installed."""

    plugin: Annotated[str, BeforeValidator(_environment_source)] | None = None
    python: RecipePath | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, data: Any) -> Any:
        """Read a plain text as the plugin."""
        return {"plugin": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _names_one(self) -> EnvironmentChoice:
        if (self.plugin is None) == (self.python is None):
            raise ValueError("expected the plugin to build the environment of, as text, or { python = PATH }")
        return self


class Resources(_Part):
    """Limits of the jobs. None means no limit, and for `jobs` as many as fit the cores."""

    jobs: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] = 1
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    memory_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")] = "cpu"
    isolation: Literal["auto", "landlock", "bwrap", "none"] = "auto"


class Recipe(_Part):
    """The description of a run. None for models and scorers means every installed one."""

    name: Label | None = None
    seeds: Seeds = (1, 2, 3, 4, 5)
    training_seeds: Seeds = (1,)
    models: Models | None = None
    scorers: Scorers | None = None
    left_out: dict[ModelName, Reason] = {}
    datasets: dict[Label, DatasetChoice] = {}
    tasks: Annotated[tuple[TaskChoice, ...], _MANY] = ()
    predictions: Annotated[tuple[PredictionChoice, ...], _MANY] = ()
    environments: dict[Name, EnvironmentChoice] = {}
    comparison: ComparisonChoice = ComparisonChoice()
    keep_models: bool = False
    oracle: bool = True
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any, info: ValidationInfo) -> Any:
        """Set absent keys from others: a dataset's offer from its name, a prediction's dataset if there is one."""
        datasets = data.get("datasets") if isinstance(data, dict) else None
        if isinstance(data, dict) and isinstance(models := data.get("models"), list | tuple):
            base = (info.context or {}).get("base", Path())
            data = {**data, "models": [_resolve_slots(model, base, _keys(datasets)) for model in models]}
        if not isinstance(datasets, dict):
            return data
        filled = {name: _with(x, offer="h5ad" if "file" in _keys(x) else name) for name, x in datasets.items()}
        predictions = data.get("predictions", ())
        if len(datasets) == 1 and isinstance(predictions, list | tuple):
            predictions = [_with(x, dataset=next(iter(datasets))) for x in predictions]
        return {**data, "datasets": filled, "predictions": predictions}


def _resolve_slots(model: Any, base: Path, datasets: Collection[str]) -> Any:
    """Return a model with absolute paths in its slots; an invalid model is returned unchanged for later validation."""
    try:
        return _model(model).resolved(base, datasets)
    except ValueError:
        return model


def _with(table: Any, **usual: str) -> Any:
    """Add absent keys to a table; return anything else unchanged."""
    return usual | table if isinstance(table, dict) else table


def _keys(table: Any) -> Collection[str]:
    """Return the keys of a table; none for anything else."""
    return table if isinstance(table, dict) else ()
