"""Finds the column that names the perturbations and brings its labels into the canonical form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pertharness.datasets.options import NONE, FileOptions
from pertharness.errors import DataError
from pertharness.labels import CONTROL, join_targets

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = (
    "perturbation", "condition", "target_gene", "gene_target", "guide_target", "perturbation_name", "target",
    "target_gene_name", "gene",
)  # fmt: skip
"""Columns of ``obs`` that are taken for labels if one of their values is a control."""
CONTROL_WORDS = frozenset(
    {"ctrl", "control", "controls", "nontargeting", "nontargetingcontrol", "nontarget", "nt", "ntc", "safetargeting",
     "safeharbor", "negctrl", "negativecontrol", "scramble", "scrambled", "unperturbed"}
)  # fmt: skip
"""Controls as published screens spell them, in lower case without ``-``, ``_`` and spaces."""
SEPARATORS = ("+", "_", "|", ";", ",", "&")


@dataclass(frozen=True)
class Labelling:
    """How the labels of a file are read."""

    column: str
    control: str
    """The label of control cells as it came; as a part of a label it is left out."""
    separator: str | None
    mapping: dict[str, str]
    """Label as it came -> canonical label, in order of first appearance."""


def find_labelling(obs: pd.DataFrame, genes: Collection[str], options: FileOptions) -> Labelling:
    """Find how the perturbations of a file are named.

    Parameters
    ----------
    obs
        Of the file, any columns.
    genes
        Gene symbols of the file: what tells a separator from a part of a name.
    options
        ``label_column``, ``control_label``, ``separator`` and ``merge_labels`` are looked at.

    Raises
    ------
    DataError
        If the file leaves a choice or gives none, with what was found and the flag that decides.
    """
    columns = _candidate_columns(obs, options)
    readings = [_read_column(obs, column, genes, options) for column in columns]
    first = readings[0]
    for other in readings[1:]:
        if list(obs[first.column].astype(str).map(first.mapping)) != list(
            obs[other.column].astype(str).map(other.mapping)
        ):
            raise DataError(
                f"obs has several columns that may name the perturbations ({quote(columns)}) and they differ; "
                "choose one with --label-column"
            )
    return first


def quote(values: Iterable[object], most: int = 6) -> str:
    """Quote the first few of some values."""
    quoted = [repr(value) for value in values]
    return ", ".join(quoted[:most]) + (", ..." if len(quoted) > most else "") or "none"


def _candidate_columns(obs: pd.DataFrame, options: FileOptions) -> list[str]:
    """Give the columns that may hold the labels: the named one, or those known by name that hold a control."""
    if options.label_column is not None:
        if options.label_column not in obs:
            raise DataError(
                f"obs has no column {options.label_column!r} (--label-column); it has {quote(obs.columns, 20)}"
            )
        return [options.label_column]
    known = [column for column in obs.columns if str(column).lower() in LABEL_COLUMNS]
    if not known:
        raise DataError(
            f"obs has no column that is known to name perturbations (columns: {quote(obs.columns, 20)}; looked for "
            f"{quote(LABEL_COLUMNS, 20)}); name it with --label-column, or this is an h5ad of another kind"
        )
    usable = [column for column in known if _controls_in(_unique_labels(obs, column), options)]
    return usable or known[:1]


def _unique_labels(obs: pd.DataFrame, column: str) -> list[str]:
    """Give the labels of a column in order of first appearance, empty ones left out."""
    return [str(label) for label in obs[column].dropna().unique()]


def _controls_in(labels: Sequence[str], options: FileOptions) -> list[str]:
    """Give the labels that stand for the control."""
    if options.control_label is not None:
        return [label for label in labels if label == options.control_label]
    return [label for label in labels if _is_control(label)]


def _is_control_word(text: str) -> bool:
    """Say whether a text is one of the spellings of the control."""
    return "".join(letter for letter in text.lower() if letter not in "-_ ") in CONTROL_WORDS


def _is_control(label: str) -> bool:
    """Say whether a label is a control word, or several that are joined: ``ctrl``, ``ctrl+ctrl``, ``NT|NT``."""
    return _is_control_word(label) or any(all(map(_is_control_word, label.split(sep))) for sep in SEPARATORS)


def _read_column(obs: pd.DataFrame, column: str, genes: Collection[str], options: FileOptions) -> Labelling:
    """Read the labels of one column."""
    empty = obs[column].isna() | (obs[column].astype(str).str.strip() == "")
    if empty.any():
        raise DataError(
            f"obs[{column!r}] is empty in {int(empty.sum())} rows (first: {obs.index[empty.to_numpy()][0]!r}); "
            "expected a label in every row: remove these rows or label them"
        )
    labels = _unique_labels(obs, column)
    controls = _controls_in(labels, options)
    if len(controls) != 1:
        looked_for = (
            repr(options.control_label) if options.control_label is not None else "'ctrl', 'non-targeting', ..."
        )
        what = (
            f"several labels that may be the control: {quote(controls)}" if controls else f"no control ({looked_for})"
        )
        raise DataError(
            f"obs[{column!r}] has {what}; labels: {quote(labels)}; say which label is the control with --control-label"
            " (or choose another column with --label-column)"
        )
    control = controls[0]
    try:
        separator = _find_separator([label for label in labels if label != control], control, genes, options)
    except DataError as error:
        raise DataError(f"obs[{column!r}]: {error}") from error
    mapping = {label: _canonical(label, control, separator) for label in labels}
    _check_collisions(column, mapping, merge_labels=options.merge_labels)
    return Labelling(column=column, control=control, separator=separator, mapping=mapping)


def _find_separator(labels: list[str], control: str, genes: Collection[str], options: FileOptions) -> str | None:
    """Find what joins the targets of a label; None: nothing does."""
    if options.separator is not None:
        return None if options.separator == NONE else options.separator
    fitting, unclear = [], {}
    singles = {label for label in labels if not any(separator in label for separator in SEPARATORS)}
    known = singles.union(genes)
    for separator in SEPARATORS:
        joined = [label for label in labels if separator in label and label not in genes]
        odd = [label for label in joined if not _is_joined(label, separator, control, known)]
        if joined and (separator == "+" or not odd):  # no gene name has a `+`
            fitting.append(separator)
        elif odd:
            unclear[separator] = odd
    if len(fitting) > 1:
        raise DataError(
            f"labels are joined in several ways: {quote(fitting)}; labels: {quote(labels)}; say what joins targets "
            f"with --separator (--separator {NONE}: none does)"
        )
    if not fitting and unclear:
        separator, odd = next(iter(unclear.items()))
        raise DataError(
            f"it is unclear whether {separator!r} joins two targets in {quote(odd)}: not all parts are genes or "
            f"perturbed alone; say --separator {separator} if it does, --separator {NONE} if it belongs to the names"
        )
    return fitting[0] if fitting else None


def _is_joined(label: str, separator: str, control: str, known: Collection[str]) -> bool:
    """Say whether all parts of a label are known targets or the control."""
    parts = [part.strip() for part in label.split(separator)]
    return all(part in known or part == control or _is_control_word(part) for part in parts)


def _canonical(label: str, control: str, separator: str | None) -> str:
    """Give the canonical label."""
    if label == control:
        return CONTROL
    parts = [part.strip() for part in label.split(separator)] if separator else [label.strip()]
    targets = [part for part in parts if part != control and not (len(parts) > 1 and _is_control_word(part))]
    try:
        return join_targets(targets)
    except DataError as error:
        raise DataError(
            f"the label {label!r} cannot be read with the separator {separator!r}: {error}; "
            "say what joins targets with --separator"
        ) from error


def _check_collisions(column: str, mapping: dict[str, str], *, merge_labels: bool) -> None:
    """Refuse labels that mean the same perturbation, unless they are to be pooled."""
    seen: dict[str, str] = {}
    for label, canonical in mapping.items():
        if canonical in seen and not merge_labels:
            raise DataError(
                f"obs[{column!r}]: the labels {seen[canonical]!r} and {label!r} both name the perturbation "
                f"{canonical!r}; pool their rows with --merge-labels, or rename one in the file"
            )
        seen.setdefault(canonical, label)
