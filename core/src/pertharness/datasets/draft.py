"""Draft a label map: how each label of a file is read, for the user to correct.

Run as ``python -m pertharness.datasets.draft`` with a JSON object on standard input: ``file``, ``params`` and ``out``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertharness.contract.errors import DataError, PertharnessError
from pertharness.contract.labels import CONTROL, SEPARATOR
from pertharness.data.canonical import open_stored
from pertharness.data.label_map import DROP, clean_text, write_label_map
from pertharness.datasets.label_kinds import NO_PERTURBATION
from pertharness.datasets.labelling import Labelling, column_of_labels, labels_in
from pertharness.datasets.options import NONE, FileOptions, check_options
from pertharness.datasets.perturbations import read_names
from pertharness.datasets.readings import PLUS_IN_NAMES
from pertharness.datasets.separators import is_torn, parts_of

if TYPE_CHECKING:
    import pandas as pd

Line = tuple[str, str, int, str]
"""Label, targets, number of rows, how it was read."""


def draft_label_map(file: Path, params: Mapping[str, Any]) -> tuple[list[Line], list[str]]:
    """Return the lines of a label map for all contexts of a file, and notes on how its labels are read.

    If the labels cannot be read together, each label is one target, and the first note has the reason.

    Raises
    ------
    DataError
        If the file cannot be read or has no column of labels.
    """
    options = check_options(FileOptions, file.stem, params)
    stored = open_stored(file, options.modality_key)
    notes: list[str] = []
    try:
        _, labelling = read_names(stored.var, stored.obs, options, notes)
        problem = ""
    except DataError as error:
        labelling, problem = _as_they_are(stored.var, stored.obs, options), str(error)
        notes = [problem]
    counts = labels_in(stored.obs, labelling.column).value_counts(sort=False)
    lines = [_line(str(label), int(number), labelling, problem) for label, number in counts.items()]
    return lines, notes


def _as_they_are(var: pd.DataFrame, obs: pd.DataFrame, options: FileOptions) -> Labelling:
    """Return a labelling that splits no label, and only detects controls and unknown perturbations."""
    plain = options.model_copy(update={"separator": NONE, "guides": NONE, "target_column": NONE, "merge_labels": True})
    try:
        return read_names(var, obs, plain, [])[1]
    except DataError:  # no control was found; the user has to mark it in the map
        return Labelling(column_of_labels(obs, options), (), None, {})


def _line(label: str, number: int, labelling: Labelling, problem: str) -> Line:
    targets = labelling.mapping.get(label)
    if label in labelling.left_out:
        return label, DROP, number, labelling.left_out[label]
    text = clean_text(label)
    if targets is None and not text:
        return label, DROP, number, NO_PERTURBATION
    if targets is None:
        is_name = any(map(is_torn, parts_of(text, SEPARATOR)))
        return label, text.replace(SEPARATOR, PLUS_IN_NAMES) if is_name else text, number, "not read: correct it"
    if targets == CONTROL:
        return label, CONTROL, number, "control"
    reading = f"{targets.count('+') + 1} targets" if "+" in targets else "1 target"
    return label, targets, number, f"{reading}, not divided" if problem else reading


def main() -> int:
    """Write the draft requested on standard input; return 1 with a message on standard error if that fails."""
    request = json.loads(sys.stdin.read())
    try:
        lines, notes = draft_label_map(Path(request["file"]), request["params"])
        if request["out"] is not None:
            write_label_map(lines, Path(request["out"]))
            print(*(f"  {note}" for note in notes), sep="\n")
            print(f"{request['out']}: {len(lines)} labels; correct the file and pass it with --label-map")
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "map.csv")
                write_label_map(lines, path)
                print(path.read_text(encoding="utf-8"), end="")
    except PertharnessError as error:
        print(str(error), file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{request['out']!r} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
