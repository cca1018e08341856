"""Finds the column that names the perturbations and brings its labels into the canonical form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pertharness.contract.errors import ChoiceError, DataError
from pertharness.contract.labels import CONTROL
from pertharness.data.label_map import clean_text
from pertharness.datasets.controls import is_control_label, is_substitute
from pertharness.datasets.label_kinds import control_matcher, sort_labels
from pertharness.datasets.options import FileOptions
from pertharness.datasets.readings import read_labels
from pertharness.datasets.separators import quote as quote

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = (
    "perturbation", "condition", "target_gene", "gene_target", "guide_target", "perturbation_name", "target",
    "target_gene_name", "gene",
)  # fmt: skip
"""Columns of ``obs`` that are taken for labels if one of their values is a control."""
INDEX = ("index", "_index")
"""Names by which the names of the rows are meant, where there is no such column."""
_LOOKED_AT = 50_000
"""Different values of a column of which nothing is known, up to which it is searched for a control."""


@dataclass(frozen=True)
class Labelling:
    """How the labels of a file are read.

    Attributes
    ----------
    column
        Of ``obs``, or ``index``.
    controls
        The labels of control cells, as they came.
    separator
        What joins the targets of a label; None: nothing does.
    mapping
        Label as it came -> canonical label, in order of first appearance; without those that are left out.
    left_out
        Label as it came -> why its rows are left out.
    genes
        Perturbation -> its genes, joined, where its targets are guides of these.
    gene_column
        Column of ``var`` that has the symbols which the labels use, where the genes of the file are named by ids.
    of_guides
        Labels that name guides, several of which may be of one gene.
    notes
        What was done, line by line.
    """

    column: str
    controls: tuple[str, ...]
    separator: str | None
    mapping: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    genes: dict[str, str] = field(default_factory=dict)
    gene_column: str | None = None
    of_guides: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def control(self) -> str:
        """The first label of control cells, as it came."""
        return self.controls[0]


def find_labelling(
    obs: pd.DataFrame,
    genes: Collection[str],
    options: FileOptions,
    columns: Mapping[str, Mapping[str, str]] | None = None,
) -> Labelling:
    """Find how the perturbations of a file are named.

    Parameters
    ----------
    obs
        Of the file, any columns.
    genes
        The genes of the dataset: what tells a separator, or the number of a guide, from a part of a name.
    options
        ``label_column``, ``control_label``, ``separator``, ``label_map``, ``guides`` and ``merge_labels`` are looked
        at.
    columns
        Other names of the genes, from `pertharness.datasets.targets.names_by_column`.

    Raises
    ------
    DataError
        If the file leaves a choice or gives none, with what was found and the flag that decides.
    """
    names = _candidate_columns(obs, options)
    read = [_read_column(obs, name, genes, options, columns or {}) for name in names]
    first = read[0]
    for other in read[1:]:
        if list(labels_in(obs, first.column).map(first.mapping).fillna("")) != list(
            labels_in(obs, other.column).map(other.mapping).fillna("")
        ):
            raise ChoiceError(
                f"obs has several columns that may name the perturbations ({quote(names)}) and they differ; "
                "choose one with --label-column"
            )
    return first


def labels_in(obs: pd.DataFrame, column: str) -> pd.Series:
    """Return the labels of all rows as texts; of rows that have none, the empty text."""
    values = obs[column] if column in obs else obs.index.to_series()
    labels: pd.Series = values.astype(object).where(values.notna(), "").astype(str)
    return labels


def column_of_labels(obs: pd.DataFrame, options: FileOptions) -> str:
    """Return the first column that may hold the labels; raise as `find_labelling` does where there is none."""
    return _candidate_columns(obs, options)[0]


def _candidate_columns(obs: pd.DataFrame, options: FileOptions) -> list[str]:
    """Return the columns that may hold the labels: the named one, or those known by name that hold a control."""
    if options.label_column is not None:
        if options.label_column not in obs and options.label_column not in (*INDEX, obs.index.name):
            raise DataError(
                f"obs has no column {options.label_column!r} (--label-column); it has {quote(obs.columns, 20)}; "
                "the names of its rows are --label-column index"
            )
        return [options.label_column]
    candidates = [column for column in obs.columns if str(column).lower() in LABEL_COLUMNS]
    if not candidates:
        raise DataError(
            f"obs has no column that is known to name perturbations (columns: {quote(obs.columns, 20)}; looked for "
            f"{quote(LABEL_COLUMNS, 20)}); name it with --label-column{_other_places(obs)}, or this is an h5ad of "
            "another kind"
        )
    labels = {column: _distinct(obs, column) for column in candidates}
    # A substitute such as DMSO may be a perturbation like others: a column that has nothing better comes second.
    is_named_control = control_matcher(options)
    for is_sought in (is_control_label, is_substitute) if is_named_control is None else (is_named_control,):
        if usable := [column for column in candidates if any(map(is_sought, map(clean_text, labels[column])))]:
            return usable
    if options.label_map is not None:
        mapped = options.label_map
        candidates = sorted(
            candidates, key=lambda column: -sum(clean_text(label) in mapped for label in labels[column])
        )
    return candidates[:1]


def _other_places(obs: pd.DataFrame) -> str:
    """Return which columns of unknown names, or the names of the rows, hold a control."""
    text_columns = [
        str(column) for column in obs.columns if obs[column].dtype.name in ("object", "category", "str", "string")
    ]
    distinct = {column: _distinct(obs, column) for column in text_columns}
    distinct["index"] = [str(name) for name in obs.index[:_LOOKED_AT]]
    columns = [name for name, labels in distinct.items() if any(map(is_control_label, labels[:_LOOKED_AT]))]
    return f" (a control is among the values of {quote(columns)})" if columns else ""


def _distinct(obs: pd.DataFrame, column: str) -> list[str]:
    """Return the labels of a column in order of first appearance."""
    values = obs[column] if column in obs else obs.index.to_series()
    distinct = values.drop_duplicates()
    return list(
        dict.fromkeys(
            str(label) if is_present else "" for label, is_present in zip(distinct, distinct.notna(), strict=True)
        )
    )


def _read_column(
    obs: pd.DataFrame,
    column: str,
    genes: Collection[str],
    options: FileOptions,
    columns: Mapping[str, Mapping[str, str]],
) -> Labelling:
    """Read the labels of one column."""
    labels = _distinct(obs, column)
    try:
        kinds = sort_labels(labels, genes, options)
        reading = read_labels(kinds, genes, columns, options)
    except DataError as error:
        raise type(error)(f"obs[{column!r}]: {error}") from error
    mapping = {label: reading.mapping[label] for label in labels if label in reading.mapping}
    if not options.merge_labels:
        _check_collisions(column, mapping, {*kinds.mapped, *reading.guides})
    return Labelling(
        column, tuple(label for label, perturbation in mapping.items() if perturbation == CONTROL), reading.separator,
        mapping, reading.left_out, reading.genes, reading.gene_column, frozenset(reading.guides),
        tuple(reading.notes),
    )  # fmt: skip


def _check_collisions(column: str, mapping: Mapping[str, str], may_meet: Collection[str]) -> None:
    """Refuse labels that mean the same perturbation, unless they are alike but for white space, or are to be pooled.

    `may_meet` are labels that are meant to be pooled with others: of guides, and of a label map.
    """
    seen: dict[str, str] = {}
    for label, canonical in mapping.items():
        first = seen.setdefault(canonical, label)
        is_same = canonical == CONTROL or clean_text(first) == clean_text(label) or label in may_meet
        if not is_same:
            raise DataError(
                f"obs[{column!r}]: the labels {first!r} and {label!r} both name the perturbation "
                f"{canonical!r}; pool their rows with --merge-labels, or rename one in the file"
            )
