"""Lay out the page on a screen: its facts in short sections, for a reader who knows the experiment, not the harness."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pertharness.host.screen.gaps import count, group, some

_MARGIN, _LABEL = 2, 12
_NO_BREAK = "\u00a0"
_BETWEEN_DIGITS = re.compile(r"(?<=\d) (?=\d{3}\b)")
"""Space between groups of digits, at which no line may end."""
_LONGEST = 45
"""Most lines of a page, on a screen or a sheet."""
_FITS = ((3, 8), (3, 5), (2, 6), (2, 4), (1, 5), (1, 3))
"""Most lines of an entry and most entries of a list, tried in turn until the page fits; ``--json`` has everything."""
_WHOLE = "What it can show"
"""The section whose entries are never cut."""
_LAYOUTS = {"csr": "sparse, by rows", "csc": "sparse, by columns", "dense": "dense"}
_MODALITIES = {"crispra": "CRISPR activation", "crispri": "CRISPR interference", "ko": "knock-out"}
_SHOWN_ELSEWHERE = ("context", "doubles", "level", "guides", "scale", "left out")
"""First words of the notes that appear elsewhere on the page."""

Entry = tuple[str, str]
"""Label and text of an entry."""


def write_page(facts: Mapping[str, Any], width: int) -> str:
    """Return the page of a screen; entries and lists that do not fit are cut.

    Parameters
    ----------
    facts
        From `assemble_facts`; with an ``error`` they may be incomplete.
    width
        Width of the page in columns.
    """
    sections = [("What it is", [*_what_it_is(facts)])]
    if "perturbations" in facts:
        sections.append(("What was understood", [*_what_was_understood(facts)]))
    if "tasks" in facts:
        sections.append(("What is left out or missing", [("-", text) for text in facts["missing"] or ["nothing"]]))
        sections.append((_WHOLE, [*_what_it_can_show(facts)]))
        sections.append(("What to change", [("-", text) for text in _what_to_change(facts)]))
    for most_lines, most_entries in _FITS:
        lines = [str(facts["name"])]
        for title, entries in sections:
            lines += ["", title, *_lines_of(entries, width, 9 if title == _WHOLE else most_lines, most_entries)]
        if len(lines) <= _LONGEST:
            break
    return "\n".join(lines)


def _lines_of(entries: list[Entry], width: int, most_lines: int, most_entries: int) -> Iterator[str]:
    """Yield the lines of a section, with at most `most_entries` entries of a list or of one label."""
    kind, n_of_kind = "", 0
    for label, text in entries:
        kind, n_of_kind = (kind, n_of_kind + 1) if label in ("", kind) else (label, 1)
        if n_of_kind <= most_entries or most_lines > _FITS[0][0]:
            yield from _laid_out(label if n_of_kind == 1 or label == "-" else "", text, width, most_lines)
        elif n_of_kind == most_entries + 1:
            yield from _laid_out("-" if label == "-" else "", "and more: see --json", width, most_lines)


def _laid_out(label: str, text: str, width: int, most_lines: int) -> list[str]:
    """Return the lines of an entry."""
    indent = _MARGIN + (_LABEL if label != "-" else 2)
    whole = _BETWEEN_DIGITS.sub(_NO_BREAK, " ".join(text.split()))
    wrapped = textwrap.wrap(whole, width - indent, break_on_hyphens=False)
    if len(wrapped) > most_lines:
        last = textwrap.wrap(wrapped[most_lines - 1], width - indent - 4, break_on_hyphens=False)[0]
        wrapped = [*wrapped[: most_lines - 1], f"{last} ..."]
    starts = [f"{'':{_MARGIN}}{label:<{indent - _MARGIN}}", *[" " * indent] * (len(wrapped) - 1)]
    return [f"{start}{line}".replace(_NO_BREAK, " ") for start, line in zip(starts, wrapped, strict=True)]


def _what_it_is(facts: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the entries on the content and the format of the file."""
    rows = {"cells": "cells", "pseudobulk": "means, one of each perturbation,"}.get(facts.get("level", ""), "rows")
    yield "content", f"{group(facts['n_obs'])} {rows} x {group(facts['n_genes'])} genes"
    parts = [f"{facts['container']}, {group(facts['size_mb'])} MB"]
    if facts["matrix"]:
        matrix = facts["matrix"]
        parts.append(f"values {_LAYOUTS.get(matrix['layout'], matrix['layout'])}, {matrix['type']}")
        parts += [f"compressed with {matrix['compression']}"] if matrix["compression"] else []
    if facts["layers"]:
        parts.append(f"layers {some(facts['layers'], 4)}")
    yield "file", "; ".join(parts)
    if facts.get("origin"):
        yield "origin", facts["origin"]
    if "level" in facts:
        yield "context", facts["context"] or "not named"
        modality = facts.get("modality")
        yield "modality", _MODALITIES.get(modality, modality) if modality else "not stated"


def _what_was_understood(facts: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the entries on how labels, genes and values were read."""
    labels, targets, notes = facts["labels"], facts["targets"], _other_notes(facts)
    column = labels.get("column")
    where = "" if column is None else "names of the rows: " if column == "index" else f"obs[{column!r}]: "
    yield "labels", f"{where}{_kinds_of_perturbations(facts)}"
    yield from (("", text) for text in notes.pop("labels", ()))
    yield "control", _controls(facts)
    if "separator" in labels:
        separator = labels["separator"]
        yield "separator", f"{separator!r} joins the targets of a label" if separator else "nothing joins targets"
    for note in facts["notes"]:
        if note.startswith("guides: "):
            yield "guides", note.removeprefix("guides: ").partition(" (--")[0]
    names = "; ".join(notes.pop("gene names", ())) or "named by var_names"
    yield "genes", f"{names}; Ensembl ids {'known' if facts['genes']['ensembl_ids'] else 'not known'}"
    absent = f" (not: {some(targets['absent'], 6)})" if targets["absent"] else ""
    yield "", f"targets: {targets['n_genes']} of {targets['n']} are genes of the file{absent}"
    yield from (("", text) for text in notes.pop("targets", ()))
    yield from ((kind, text) for kind, texts in notes.items() for text in texts)
    yield from _scale(facts.get("scale"))


def _other_notes(facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the notes that appear nowhere else on the page, by their first word."""
    notes: dict[str, list[str]] = {}
    for note in facts["notes"]:
        kind, _, text = note.partition(": ")
        is_shown = kind in _SHOWN_ELSEWHERE or note in facts.get("changes", ())
        if not is_shown and not note.startswith("labels: obs[") and "are genes of the file" not in note:
            notes.setdefault(kind, []).append(text)
    return notes


def _scale(scale: Mapping[str, Any] | None) -> Iterator[Entry]:
    """Yield the entries on the scale of the values and the number of cells that were examined."""
    if not scale or not scale["read_as"]:
        return
    yield "scale", scale["read_as"]
    if scale["n_judged"] < scale["n_rows"]:
        judged = f"{group(scale['n_judged'])} of {group(scale['n_rows'])} cells, drawn over the whole file"
        yield "", f"judged on {judged}; a run checks every cell"


def _kinds_of_perturbations(facts: Mapping[str, Any]) -> str:
    """Return the number of perturbations, by number of targets."""
    numbers = facts["n_by_targets"]
    kinds = [count(numbers[n], noun) for n, noun in (("1", "single"), ("2", "double")) if numbers.get(n)]
    larger = sum(number for n, number in numbers.items() if int(n) > 2)
    kinds += [f"{group(larger)} of three or more targets"] if larger else []
    return f"{count(sum(numbers.values()), 'perturbation')} ({', '.join(kinds)}) and the control"


def _controls(facts: Mapping[str, Any]) -> str:
    """Return the control labels with their numbers of rows."""
    noun = "cell" if facts["level"] == "cells" else "row"
    controls = sorted(facts["labels"]["controls"], key=lambda control: -control["n_rows"])
    shown = ", ".join(f"{control['label']!r} ({count(control['n_rows'], noun)})" for control in controls[:4])
    if len(controls) == 1:
        return shown
    rest = f" and {len(controls) - 4} more labels" if len(controls) > 4 else ""
    total = sum(control["n_rows"] for control in controls)
    return f"{shown}{rest}; {count(total, noun)} in all, pooled"


def _what_it_can_show(facts: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the entries on what each task holds out, whether that can separate models, and the numbers of cells."""
    for task, task_facts in facts["tasks"].items():
        yield task, _what_is_held_out(task, task_facts)
        if task_facts["n_answerable"] is not None and task_facts["n_perturbations"]:
            yield "", _what_additive_can_answer(task_facts)
        if not task_facts["problem"]:
            yield "", _whether_models_differ(task_facts)
    cells = facts["cells"]
    if cells is None:
        yield "cells", "how many were averaged is not known"
    else:
        spread = f"{group(cells['median'])} per perturbation ({group(cells['least'])} to {group(cells['most'])})"
        yield "cells", f"median {spread}; {group(cells['control'])} control cells, from whose mean changes are measured"


def _what_is_held_out(task: str, task_facts: Mapping[str, Any]) -> str:
    """Return the number of perturbations that the splits of a task hold out."""
    if not task_facts["n_perturbations"]:
        return f"not possible: no {task}s"
    if task_facts["problem"]:
        return f"not possible: {task_facts['problem']}"
    least, most = task_facts["n_test"]
    each = str(least) if least == most else f"{least} to {most}"
    seeds = task_facts["seeds"]
    return (
        f"{each} of {count(task_facts['n_perturbations'], task)} held out for the test in each of {len(seeds)} splits "
        f"(seeds {seeds[0]} to {seeds[-1]}), {task_facts['n_held_out']} different ones in all"
    )


def _what_additive_can_answer(task_facts: Mapping[str, Any]) -> str:
    """Return the number of doubles for which both singles were measured."""
    doubles = count(task_facts["n_perturbations"], "double")
    held_out = (
        f"; {task_facts['n_held_out_answerable']} of the {task_facts['n_held_out']} held out"
        if task_facts["n_held_out"]
        else ""
    )
    return (
        f"the baseline additive can answer {task_facts['n_answerable']} of {doubles}: both singles measured{held_out}"
    )


def _whether_models_differ(task_facts: Mapping[str, Any]) -> str:
    """Return whether the held-out perturbations are enough to separate two models, with the number that decides."""
    n_held_out, needed = task_facts["n_held_out"], task_facts["n_needed"]
    if not task_facts["enough"]:
        chance = 2 / 2 ** (needed - 1)
        return (
            f"too few to separate models: below {needed} held-out perturbations there is no verdict, as of two "
            f"equal models one is better at all {needed - 1} with a chance of {chance:.2f}"
        )
    resolution = task_facts["resolution"]
    return (
        f"these {n_held_out} separate two models whose scores differ on average by more than {resolution} of "
        f"the standard deviation of that difference (1.96 / sqrt({n_held_out})); else the verdict is undecided"
    )


def _what_to_change(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield flags that settle what is unclear, and the command for correcting labels."""
    yield from facts["changes"]
    if "file" in facts:
        yield "each label as it is read, to be corrected: pertharness data labels FILE --out map.csv"
    elif not facts["changes"]:
        yield "nothing"
