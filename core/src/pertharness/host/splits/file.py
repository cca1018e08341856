"""Read and write split files: those of the harness, and plain JSON lists from other sources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pertharness.contract.errors import SplitError
from pertharness.contract.labels import CONTROL, SEPARATOR
from pertharness.files.whole import write_text
from pertharness.host.splits.split import (
    FORMAT,
    PARTS,
    Labelled,
    Parts,
    Split,
    build_split,
    check_labels,
    repeated,
    split_hash,
)  # fmt: skip
from pertharness.host.text.did_you_mean import expected

SPELLINGS_OF_CONTROL = (CONTROL, "ctrl")
"""Spellings of the control in a file, alone or as the partner of a single, besides its label in the data."""
NO_PART = "in no part of the split file"


def write_split(split: Split, path: Path) -> None:
    """Write a split as JSON atomically, one perturbation per line."""
    write_text(path, json.dumps(split.model_dump(), indent=2) + "\n")


def read_split(path: Path, labels: Sequence[Labelled], *, dataset: str = "") -> Split:
    """Read a split and match it to the labels of a dataset.

    A file written by `write_split` keeps its kind, variant, seed and hash, if the hash is valid and the dataset has the
    same perturbations. Any other file is a JSON object with lists ``train``, ``val`` and ``test``. Their labels may be
    those of the data, canonical ones, or spellings such as ``A+ctrl``, ``B+A`` and ``ctrl``. The control is added to
    train.

    Raises
    ------
    SplitError
        If the file cannot be read or has another form, if its hash does not match its content, or if a perturbation is
        unknown, in two parts or twice in one. The message has the path and the name.
    """
    try:
        content = _load(path)
        check_labels(labels)
        described = _described(content)
        spellings = _spellings(labels)
        lists = {part: [_resolve(name, spellings, part) for name in _names(content, part)] for part in PARTS}
        if not any(CONTROL in names for names in lists.values()):
            lists["train"].insert(0, CONTROL)
        placed = {name for names in lists.values() for name in names}
        dropped = described.pop("dropped")
        missing = [x.perturbation for x in labels if x.perturbation not in placed]
        parts = Parts(
            lists["train"], lists["val"], lists["test"],
            dropped={name: dropped.get(name, NO_PART) for name in missing}, subgroups=described.pop("subgroups"),
        )  # fmt: skip
        return build_split(labels, parts, dataset=dataset, **described)
    except SplitError as error:
        raise SplitError(f"split file {path}: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    """Read the JSON object of a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise SplitError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SplitError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise SplitError(f"contains a {type(content).__name__}; expected a JSON object with lists train, val and test")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object from its pairs, and refuse a repeated key, of which Python would silently keep the last."""
    if twice := repeated(name for name, _ in pairs):
        raise SplitError(f"duplicate key {twice[0]!r}; expected it once")
    return dict(pairs)


def _described(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a split other than its lists; they are used only with a valid hash, so that edits show."""
    if "hash" not in content:
        return {"kind": "file", "dropped": {}, "subgroups": {}}
    if content.get("format") != FORMAT:
        raise SplitError(f"format {content.get('format')!r}; this version reads format {FORMAT}")
    try:
        split = Split.model_validate(content)
        right = split_hash(content)
    except (ValidationError, ValueError) as error:
        raise SplitError(f"not a split: {error}") from error
    if split.hash != right:
        raise SplitError(
            f"hash {split.hash!r} is not that of its content ({right!r}): the file was changed after it was written; "
            "remove the line of the hash to use it as it is"
        )
    return {key: getattr(split, key) for key in ("kind", "variant", "seed", "params", "dropped", "subgroups")}


def _names(content: Mapping[str, Any], part: str) -> list[str]:
    """Return the labels of one part."""
    if part == "test" and part not in content:
        raise SplitError(f"no list 'test'; {expected(part, content)}")
    names = content.get(part, [])
    if not isinstance(names, list):
        raise SplitError(f"{part} is {names!r:.80}; expected a list of perturbations")
    for name in names:
        if not isinstance(name, str):
            raise SplitError(f"{part} contains {name!r:.80}; expected the label of a perturbation")
    return names


def _spellings(labels: Sequence[Labelled]) -> dict[str, str]:
    """Return spelling -> perturbation for all labels; canonical labels take precedence over those of the data."""
    control = next(x.label_given for x in labels if x.perturbation == CONTROL)
    spellings = dict.fromkeys((*SPELLINGS_OF_CONTROL, control), CONTROL)
    return (
        spellings | {x.label_given: x.perturbation for x in labels} | {x.perturbation: x.perturbation for x in labels}
    )


def _resolve(name: str, spellings: Mapping[str, str], part: str) -> str:
    """Return the perturbation of a name in a file."""
    targets = [token for token in name.split(SEPARATOR) if spellings.get(token) != CONTROL]
    sorted_name = SEPARATOR.join(sorted(targets)) if targets else CONTROL
    for spelling in (name, sorted_name):
        if spelling in spellings:
            return spellings[spelling]
    raise SplitError(f"{name!r} of {part} is not in the data; {_nearest(name, spellings)}")


def _nearest(name: str, spellings: Mapping[str, str]) -> str:
    """Return a hint at the closest label, or the number of labels, of which there may be thousands."""
    hint = expected(name, spellings).partition("? ")
    return f"{hint[0]}?" if hint[1] else f"the data have {len(set(spellings.values()))} perturbations"
