"""Find the column of perturbation labels, and convert its labels to the canonical form."""

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
"""Names of columns of ``obs`` that are used for labels if one of their values is a control."""
INDEX = ("index", "_index")
"""Column names that stand for the index of ``obs`` if there is no such column."""
_LOOKED_AT = 50_000
"""Most distinct values of an unknown column that are searched for a control."""


@dataclass(frozen=True)
class Labelling:
    """How the labels of a file are read.

    Attributes
    ----------
    column
        Column of ``obs``, or ``index``.
    controls
        Labels of control cells, as in the file.
    separator
        Separator between the targets of a label; None if there is none.
    mapping
        Label in the file -> canonical label, in order of first appearance; without labels that are left out.
    left_out
        Label in the file -> reason why its rows are left out.
    genes
        Perturbation -> its genes, joined, if its targets are guides.
    gene_column
        Column of ``var`` with the symbols that the labels use, if the genes of the file are named by ids.
    of_guides
        Labels that name guides; a gene may have several.
    notes
        Lines on what was done.
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
        """First label of control cells, as in the file."""
        return self.controls[0]


def find_labelling(
    obs: pd.DataFrame,
    genes: Collection[str],
    options: FileOptions,
    columns: Mapping[str, Mapping[str, str]] | None = None,
) -> Labelling:
    """Find the column of labels, and read its labels.

    Parameters
    ----------
    obs
        Table of the file.
    genes
        Genes of the dataset; they distinguish separators, and numbers of guides, from parts of names.
    options
        The user's options, of which ``label_column``, ``control_label``, ``separator``, ``label_map``, ``guides`` and
        ``merge_labels`` are used.
    columns
        Other names of the genes, from `pertharness.datasets.targets.names_by_column`.

    Raises
    ------
    DataError
        If no reading is possible, or several are; the message names the flag to use.
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
    """Return the labels of all rows as texts; a missing label becomes the empty text."""
    values = obs[column] if column in obs else obs.index.to_series()
    labels: pd.Series = values.astype(object).where(values.notna(), "").astype(str)
    return labels


def column_of_labels(obs: pd.DataFrame, options: FileOptions) -> str:
    """Return the first column that may have the labels; raise an error if there is none."""
    return _candidate_columns(obs, options)[0]


def _candidate_columns(obs: pd.DataFrame, options: FileOptions) -> list[str]:
    """Return the columns that may have the labels: the user's choice, or the usual columns that have a control."""
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
    # A substitute such as DMSO may be a perturbation, so columns with a real control come first.
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
    """Return a hint on other columns, or the index, that have a control; empty if there are none."""
    text_columns = [
        str(column) for column in obs.columns if obs[column].dtype.name in ("object", "category", "str", "string")
    ]
    distinct = {column: _distinct(obs, column) for column in text_columns}
    distinct["index"] = [str(name) for name in obs.index[:_LOOKED_AT]]
    columns = [name for name, labels in distinct.items() if any(map(is_control_label, labels[:_LOOKED_AT]))]
    return f" (a control is among the values of {quote(columns)})" if columns else ""


def _distinct(obs: pd.DataFrame, column: str) -> list[str]:
    """Return the distinct labels of a column in order of first appearance."""
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
    """Raise an error for different labels of one perturbation, unless they differ only in white space.

    Labels in `may_meet`, such as those of guides or in a label map, may share a perturbation.
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
