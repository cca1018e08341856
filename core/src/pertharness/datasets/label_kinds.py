"""Sort the labels of a file into controls, perturbations, and labels that are left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pertharness.contract.errors import DataError
from pertharness.contract.labels import CONTROL, SEPARATOR
from pertharness.data.label_map import DROP, clean_text
from pertharness.datasets.controls import (
    JOINTS,
    is_control,
    is_control_label,
    is_control_word,
    is_no_perturbation,
    is_substitute,
)  # fmt: skip
from pertharness.datasets.options import FileOptions
from pertharness.datasets.separators import quote

NO_PERTURBATION = "no perturbation"
DROPPED = "dropped by the label map"
NOT_CHOSEN = "spelt like a control, but none of the labels given by --control-label"


class NoControlError(DataError):
    """No label is a control."""


@dataclass
class LabelKinds:
    """The labels of a file by kind, spelt as in the file and in order of first appearance.

    Attributes
    ----------
    mapped
        Label -> targets joined by ``+``, for labels in the label map.
    left_out
        Label -> reason why its rows are left out.
    perturbations
        Labels whose targets are still to be read.
    is_control
        Function that returns whether a part of a label is a control.
    """

    controls: list[str] = field(default_factory=list)
    mapped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    perturbations: list[str] = field(default_factory=list)
    is_control: Callable[[str], bool] = is_control
    notes: list[str] = field(default_factory=list)


def sort_labels(labels: Sequence[str], genes: Collection[str], options: FileOptions) -> LabelKinds:
    """Sort labels by the user's options, or else by their spelling.

    Raises
    ------
    DataError
        If no label is a control, or an option of the user matches no label.
    """
    kinds = LabelKinds()
    _check_meanings(options.label_map or {}, genes)
    rest = _take_mapped(labels, options.label_map or {}, kinds)
    matches = control_matcher(options)
    is_chosen = matches or (lambda label: _is_spelt_like_control(label, genes))
    controls = [label for label in rest if is_chosen(label)]
    others = [label for label in rest if label not in controls and is_substitute(clean_text(label))]
    others = [label for label in others if clean_text(label) not in genes]
    if matches is None and not controls and not kinds.controls:
        controls, others = others, []
    kinds.controls += controls
    taken = {*controls}
    for label in rest:
        text = clean_text(label)
        if label in taken:
            continue
        if _is_no_perturbation(text):
            kinds.left_out[label] = NO_PERTURBATION
        elif matches is not None and _is_spelt_like_control(label, genes):
            kinds.left_out[label] = NOT_CHOSEN
        else:
            kinds.perturbations.append(label)
    _check_controls(labels, kinds, options)
    if matches is None and others:
        kinds.notes.append(
            f"controls: {quote(others)} taken as perturbations beside the control; take them as controls with "
            "--control-label, naming all control labels"
        )
    texts = {clean_text(label) for label in kinds.controls}
    kinds.is_control = lambda part: part in texts or is_control(part) or bool(matches and matches(part))
    return kinds


def control_matcher(options: FileOptions) -> Callable[[str], bool] | None:
    """Return a function that recognises the control labels named by the user; None if none are named."""
    patterns = patterns_of(options)
    if not patterns:
        return None
    return lambda label: any(_fits(label, pattern) for pattern in patterns)


def patterns_of(options: FileOptions) -> tuple[str, ...]:
    """Return the user's names and patterns of control labels."""
    labels = options.control_label
    return (labels,) if isinstance(labels, str) else tuple(labels or ())


def _fits(label: str, pattern: str) -> bool:
    text = clean_text(label)
    return pattern in (label, text) or (fnmatchcase(text, pattern) and pattern.strip("*") != "")


def _is_spelt_like_control(label: str, genes: Collection[str]) -> bool:
    """Return whether a label looks like a control; a gene does so only in a plain spelling such as ``CTRL``."""
    text = clean_text(label)
    return is_control_label(text) and (is_control_word(text) or text not in genes)


def _is_no_perturbation(text: str) -> bool:
    """Return whether a label, or each part of it, means that the perturbation is unknown."""
    if is_no_perturbation(text):
        return True
    return any(all(map(is_no_perturbation, text.split(joint))) for joint in JOINTS if joint in text)


def _check_meanings(label_map: Mapping[str, str], genes: Collection[str]) -> None:
    """Raise an error for targets in a label map that look like a control, an unknown perturbation, or several genes."""
    for label, meaning in label_map.items():
        for target in () if meaning in (CONTROL, DROP) else meaning.split(SEPARATOR):
            if target in genes:
                continue
            expected = ""
            if is_control_label(target):
                expected = f"{CONTROL!r} for a control, and nothing for a control beside a gene"
            elif is_no_perturbation(target):
                expected = f"{DROP!r} for an unknown perturbation"
            elif any(joint in target and all(part in genes for part in target.split(joint)) for joint in JOINTS):
                expected = f"genes joined by {SEPARATOR!r}"
            if expected:
                raise DataError(f"the label map reads {label!r} as {meaning!r}; expected {expected}: correct it there")


def _take_mapped(labels: Sequence[str], label_map: Mapping[str, str], kinds: LabelKinds) -> list[str]:
    """Sort the labels in a label map, and return the others."""
    rest = []
    for label in labels:
        meaning = label_map.get(clean_text(label))
        if meaning is None:
            rest.append(label)
        elif meaning == CONTROL:
            kinds.controls.append(label)
        elif meaning == DROP:
            kinds.left_out[label] = DROPPED
        else:
            kinds.mapped[label] = meaning
    if label_map:
        texts = {clean_text(label) for label in labels}
        unused = [label for label in label_map if label not in texts]
        note = f"label map: {len(labels) - len(rest)} of {len(labels)} labels are read by it"
        note += f"; it lacks {quote(rest, 3)}, read as without it" if rest else ""
        kinds.notes.append(note + (f"; the file lacks {quote(unused, 3)}" if unused else ""))
    return rest


def _check_controls(labels: Sequence[str], kinds: LabelKinds, options: FileOptions) -> None:
    """Raise an error if no label is a control, or if a name or pattern of controls matches no label."""
    patterns = patterns_of(options)
    idle = [pattern for pattern in patterns if not any(_fits(label, pattern) for label in labels)]
    if kinds.controls and not idle:
        return
    looked_for = quote(idle) if idle else "'ctrl', 'non-targeting', ..."
    shown = [label for label in labels if label not in kinds.left_out] or labels
    empty = [label for label, reason in kinds.left_out.items() if reason == NO_PERTURBATION]
    also = f"; {quote(empty, 3)} taken for no perturbation" if empty else ""
    raise NoControlError(
        f"no control ({looked_for}); labels: {quote(shown)}{also}; name the control labels with --control-label, "
        "repeated for each of them or as a pattern such as 'NTC*' (or choose another column with --label-column)"
    )
