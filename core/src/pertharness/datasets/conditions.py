"""Find further conditions of cells: doses, times, treatments, modalities and batches.

Conditions within a perturbation are pooled only if the user asks for it. Batches are always pooled, with a note.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pertharness.contract.errors import ChoiceError, DataError
from pertharness.contract.labels import CONTROL
from pertharness.datasets.controls import is_control_label, is_no_perturbation
from pertharness.datasets.labelling import Labelling, labels_in
from pertharness.datasets.options import NONE, FileOptions
from pertharness.datasets.separators import quote

if TYPE_CHECKING:
    import pandas as pd

CONTEXT_COLUMNS = (
    "context", "cell_type", "cell_line", "celltype", "cellline", "cell.type", "cell.line", "cell type", "cell line",
    "cell-type", "cell-line",
)  # fmt: skip
"""Names of columns of ``obs`` that have contexts, in lower case."""
_MOST_VALUES = 50
"""Most distinct values of a dose, a time or a treatment; a column with more is a measurement of cells."""
_MOST_BATCHES = 2000
_UNITS = frozenset({"unit", "units"})
_WORDS: Mapping[str, frozenset[str]] = {
    "doses": frozenset({"dose", "doses", "dosage", "conc", "concentration"}),
    "times": frozenset(
        {"time", "times", "timepoint", "timepoints", "hour", "hours", "hr", "hrs", "day", "days", "week", "weeks",
         "duration", "hpi", "dpi", "hpt", "dpt"}
    ),
    "treatments": frozenset(
        {"treatment", "treatments", "stimulation", "stim", "stimulus", "stimulated", "cytokine", "condition",
         "conditions", "drug", "drugs", "compound", "compounds", "medium", "media"}
    ),
    "batches": frozenset(
        {"batch", "batches", "replicate", "replicates", "rep", "donor", "donors", "sample", "library", "lane",
         "channel", "plate", "experiment", "gem", "gemgroup", "patient", "subject", "mouse", "animal", "ident"}
    ),
}  # fmt: skip
"""Kind of condition -> words in names of columns with such values; the first match counts."""
_SECOND = re.compile(r"perturbation[-_. ]?[2-9]", re.IGNORECASE)
"""Names of columns with a further treatment of cells, besides the perturbation."""
_OF_LABELS = frozenset({"condition", "conditions", "drug", "drugs", "compound", "compounds"})
"""Words in names of columns that may be another spelling of the perturbations, such as their guides."""
_NO_TIMES = frozenset({"pseudotime", "latent", "pseudo", "sequencing", "date", "run", "processing"})
_KEEPS_CONTROLS = frozenset({"doses", "times"})
"""Kinds that controls may lack: all controls are used if none has the chosen value."""
_MODALITIES = {
    "crispri": re.compile("crispri.*|.*interference.*|.*knock-?down.*|kd|.*krab.*|.*mecp2.*"),
    "crispra": re.compile("crispra.*|.*activation.*|.*over-?expression.*|.*vpr|.*vp64.*|.*suntag.*"),
    "ko": re.compile("crispr|crispr-?(ko|cas9).*|cas9|.*knock-?out.*|ko"),
}
"""Modality -> its spellings in a column, in lower case and without ``_`` and spaces."""


@dataclass(frozen=True)
class Condition:
    """A column of ``obs`` that distinguishes conditions.

    Attributes
    ----------
    kind
        ``contexts``, ``doses``, ``times``, ``treatments``, ``modalities`` or ``batches``.
    values
        Values of the rows in use, as texts; empty if missing.
    pooled
        Perturbations, or the control, with rows of more than one value.
    """

    column: str
    kind: str
    values: pd.Series
    pooled: tuple[str, ...]


def choose_conditions(
    obs: pd.DataFrame, rows: np.ndarray, labelling: Labelling, options: FileOptions, notes: list[str]
) -> np.ndarray:
    """Return the rows of the chosen conditions.

    Parameters
    ----------
    obs
        Table of the file.
    rows
        Indices of the rows of `obs` that have a perturbation, ascending.
    labelling
        How their labels are read.
    options
        The user's options, of which ``only`` and ``pool`` are used.
    notes
        Receives a line for everything that is left out or pooled, and for batches.

    Raises
    ------
    ChoiceError
        If a perturbation has rows of several conditions, and the user has not chosen what to do with them.
    DataError
        If a column or a value that the user names does not exist.
    """
    used_obs = obs if len(rows) == len(obs) else obs.iloc[rows]
    perturbations = labels_in(used_obs, labelling.column).map(labelling.mapping)
    is_kept = _take_only(used_obs, perturbations, options, notes)
    if not is_kept.all():
        used_obs, rows, perturbations = used_obs[is_kept], rows[is_kept], perturbations[is_kept]
    conditions = find_conditions(used_obs, perturbations, labelling.column)
    _check_pooled_columns(obs, options)
    open_choices = [condition for condition in conditions if condition.pooled and not _may_pool(condition, options)]
    if open_choices:
        raise ChoiceError("; ".join(_describe_choice(condition) for condition in open_choices))
    notes += [line for condition in conditions for line in _describe(condition, perturbations, options)]
    return rows


def _may_pool(condition: Condition, options: FileOptions) -> bool:
    """Return whether the values of a condition may be pooled: batches always, others if the user says so."""
    all_contexts = condition.kind == "contexts" and options.context_column == NONE
    return condition.kind == "batches" or all_contexts or condition.column in (options.pool or ())


def find_conditions(obs: pd.DataFrame, perturbations: pd.Series, label_column: str) -> list[Condition]:
    """Return the columns of ``obs`` that distinguish conditions of perturbed cells, or of controls.

    Parameters
    ----------
    obs
        Table of the rows in use.
    perturbations
        Canonical labels of these rows.
    label_column
        Column of the labels, which is skipped.
    """
    conditions = []
    is_control = (perturbations == CONTROL).to_numpy()
    for column in (name for name in obs.columns if name != label_column):
        kind = _kind_of(str(column), obs[column])
        if kind is None:
            continue
        values = _texts(obs[column])
        pooled = _pooled(perturbations, values)
        is_of_several = bool(_pooled(values[~is_control], perturbations[~is_control]))
        if _words_of(str(column)) & _OF_LABELS and not (pooled and is_of_several):
            continue  # another spelling of the perturbations, or their guides
        if pooled or (values if kind == "batches" else values[~is_control]).nunique() > 1:
            conditions.append(Condition(str(column), kind, values, pooled))
    return conditions


def _kind_of(column: str, values: pd.Series) -> str | None:
    """Return the kind of condition in a column, by its name, or by its values for modalities; None if it has none."""
    words = _words_of(column)
    if words & _UNITS:
        return None
    if column.lower() in CONTEXT_COLUMNS:
        return "contexts"
    if _SECOND.fullmatch(column):
        return "treatments" if values.nunique(dropna=False) <= _MOST_VALUES else None
    for kind, kind_words in _WORDS.items():
        if words & kind_words and not (kind == "times" and words & _NO_TIMES):
            limit = _MOST_BATCHES if kind == "batches" else _MOST_VALUES
            return kind if values.nunique(dropna=False) <= limit else None
    return "modalities" if len(_modalities(values)) > 0 else None


def _words_of(column: str) -> set[str]:
    """Return the words in the name of a column, in lower case."""
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower()))


def _modalities(values: pd.Series) -> set[str]:
    """Return the modalities in a column; none if any value is something else."""
    if values.dtype.name not in ("object", "category", "str", "string"):
        return set()
    distinct = values.drop_duplicates().dropna()
    if len(distinct) > _MOST_VALUES:
        return set()
    named = {_modality(str(value)) for value in distinct} - {CONTROL}
    return set() if None in named else {str(name) for name in named}


def _modality(value: str) -> str | None:
    """Return the modality, or the control, that a value means; None if it means neither."""
    bare = re.sub(r"[_ ]", "", value.lower())
    for modality, pattern in _MODALITIES.items():
        if pattern.fullmatch(bare):
            return modality
    return CONTROL if is_control_label(value) or is_no_perturbation(value) else None


def _texts(values: pd.Series) -> pd.Series:
    """Return values as texts; whole numbers have no decimal point."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype) and pd.api.types.is_float_dtype(values.cat.categories.dtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_float_dtype(values.dtype):
        # Converted by its text, so that a 32-bit 0.1 does not become 0.10000000149.
        texts = values.map({value: f"{float(str(value)):.12g}" for value in values.dropna().unique()})
    else:
        texts = values.astype(object).where(values.notna(), "").astype(str)
    filled: pd.Series = texts.fillna("")
    return filled


def _pooled(perturbations: pd.Series, values: pd.Series) -> tuple[str, ...]:
    """Return the perturbations with rows of more than one value."""
    import pandas as pd

    labels, names = pd.factorize(perturbations)
    codes, distinct = pd.factorize(values)
    pairs = np.unique(labels.astype(np.int64) * len(distinct) + codes)  # faster than drop_duplicates of texts
    n_values = np.bincount(pairs // max(1, len(distinct)), minlength=len(names))
    return tuple(str(name) for name in names[n_values > 1])


def _take_only(obs: pd.DataFrame, perturbations: pd.Series, options: FileOptions, notes: list[str]) -> np.ndarray:
    """Return a mask of the rows with the values that the user chose with ``only``."""
    is_kept = np.ones(len(obs), dtype=bool)
    is_control = (perturbations == CONTROL).to_numpy()
    for column, chosen in (options.only or {}).items():
        if column not in obs:
            raise DataError(f"obs has no column {column!r} (--only); it has {quote(obs.columns, 20)}")
        values = _texts(obs[column])
        absent = [value for value in chosen if not values.isin(_spellings(value)).any()]
        if absent:
            raise DataError(
                f"obs[{column!r}] has no {absent[0]!r} (--only {column}={absent[0]}); it has {quote(_in_order(values))}"
            )
        fits = values.isin([spelling for value in chosen for spelling in _spellings(value)]).to_numpy()
        if not (fits & is_control).any():
            _refuse_without_controls(obs, column, chosen, values[is_control])
            fits = fits | is_control  # not in place, because the array of pandas may be read-only
            notes.append(
                f"controls: none has {quote(chosen)} in obs[{column!r}]; all {int(is_control.sum())} are taken"
            )
        if n_others := int((is_kept & ~fits).sum()):
            notes.append(f"left out: {n_others} rows that have other values than {quote(chosen)} in obs[{column!r}]")
        is_kept &= fits
    return is_kept


def _refuse_without_controls(obs: pd.DataFrame, column: str, chosen: Sequence[str], of_controls: pd.Series) -> None:
    """Raise an error for a selection without controls, unless controls may lack this kind of value."""
    if _kind_of(column, obs[column]) not in _KEEPS_CONTROLS:
        raise DataError(
            f"no control has {quote(chosen)} in obs[{column!r}] (--only); controls have {quote(_in_order(of_controls))}"
        )


def _spellings(value: str) -> set[str]:
    """Return a value as the user wrote it and, if it is a number, as `_texts` writes it."""
    try:
        return {value, f"{float(value):.12g}"}
    except ValueError:
        return {value}


def _in_order(values: pd.Series) -> list[str]:
    """Return the distinct values in order; numbers are sorted by size."""
    distinct = sorted(map(str, values.unique()))
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return [value or "no value" for value in distinct]


def _check_pooled_columns(obs: pd.DataFrame, options: FileOptions) -> None:
    """Raise an error for columns in ``pool`` that do not exist."""
    absent = [column for column in options.pool or () if column not in obs]
    if absent:
        raise DataError(f"obs has no column {absent[0]!r} (--pool); it has {quote(obs.columns, 20)}")


def _describe_choice(condition: Condition) -> str:
    values = _in_order(condition.values)
    first = next(value for value in values if value)
    n_perturbed = sum(label != CONTROL for label in condition.pooled)
    whose = "the control has" if not n_perturbed else f"{n_perturbed} perturbations have"
    if 0 < n_perturbed < len(condition.pooled):
        whose = f"the control and {whose}"
    return (
        f"{whose} rows of several {condition.kind} in obs[{condition.column!r}] ({quote(values)}); take one with "
        f"--only {_quoted(f'{condition.column}={first}')}, or pool them with --pool {_quoted(condition.column)}"
    )


def _quoted(argument: str) -> str:
    """Return an argument quoted for a shell."""
    import shlex

    return shlex.quote(argument)


def _describe(condition: Condition, perturbations: pd.Series, options: FileOptions) -> list[str]:
    """Return the notes on a condition that needs no choice."""
    values = quote(_in_order(condition.values))
    if condition.kind == "batches":
        return [_describe_batches(condition, perturbations)]
    if condition.pooled:
        return [
            f"pooled: {condition.kind} of obs[{condition.column!r}] ({values}): {len(condition.pooled)} "
            "perturbations have rows of several" + _lacking_controls(condition, perturbations)
        ]
    lines = [f"{condition.kind}: {values} in obs[{condition.column!r}], one for each perturbation"]
    if condition.kind == "modalities" and options.modality is None:
        lines[0] += "; the expected direction of targets is unknown, because it differs between them"
    return lines


def _describe_batches(condition: Condition, perturbations: pd.Series) -> str:
    """Return a note on the batches, and whether controls and perturbations are spread over them."""
    batches = _in_order(condition.values)
    note = f"batches: {len(batches)} values of obs[{condition.column!r}] ({quote(batches, 3)}) are pooled"
    note += _lacking_controls(condition, perturbations)
    if not condition.pooled:
        note += "; each perturbation is in one of them only, so that effects of batches look like its own"
    return note


def _lacking_controls(condition: Condition, perturbations: pd.Series) -> str:
    """Return the part of a note on values that no control has; empty if there are none."""
    with_control = {*condition.values[(perturbations == CONTROL).to_numpy()].unique()}
    without = [value for value in _in_order(condition.values) if value not in with_control]
    return f"; {len(without)} of them without control cells ({quote(without, 3)})" if without else ""
