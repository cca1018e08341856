"""Compare the article's Source Data with the scores of a run, value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pertharness.contract.labels import CONTROL
from pertharness.files.whole import write_text
from pertharness.host.reproduce.run_files import RunFiles
from pertharness.host.reproduce.sheets import Sheet, plain
from pertharness.host.text.csv_text import as_csv

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("model", "dataset", "perturbation", "seed", "coordinate")

VARIANTS = ("published-code", "default")
"""Variants to compare a published value with: the first one that the metric has."""


@dataclass(frozen=True)
class SheetResult:
    """The result for a sheet, or for one metric in it."""

    file: str
    sheet: str
    metric: str
    rows: int
    matched: int
    max_difference: float | None
    median_difference: float | None
    note: str
    """Reasons why rows, or the whole sheet, were not matched."""


def compare_sheets(sheets: Iterable[Sheet], runs: Sequence[RunFiles], aliases: Mapping[str, str]) -> list[SheetResult]:
    """Return, per sheet and metric, how many values matched a score, and their differences.

    Parameters
    ----------
    sheets
        Tables of the article.
    runs
        What was measured.
    aliases
        Name of a model or dataset in the sheets, as `plain` writes it -> the name in the runs, likewise.
    """
    import pandas as pd

    scores = pd.concat([run.scores for run in runs], ignore_index=True)
    names_of = {
        "model": {plain(label): label for run in runs for label in run.labels},
        "dataset": {plain(name): name for run in runs for name in run.manifest["datasets"]},
    }
    results = []
    for sheet in sheets:
        if sheet.rows is None or sheet.rows.empty:
            problem = sheet.problem or "it has no numbers"
            note = f"not used: {problem}; header: {', '.join(map(repr, sheet.header)) or 'none'}"
            results.append(SheetResult(sheet.file, sheet.name, "", 0, 0, None, None, note))
        else:
            for metric, rows in sheet.rows.groupby("metric", sort=True):
                results.append(_compare(sheet, str(metric), rows, scores, names_of, aliases))
    return results


def _compare(
    sheet: Sheet, metric: str, rows: pd.DataFrame, scores: pd.DataFrame, names_of: Mapping[str, Mapping[str, str]],
    aliases: Mapping[str, str],
) -> SheetResult:  # fmt: skip
    """Match one metric of a sheet by those `KEYS` that the sheet has; average the scores over the other keys."""
    mine = scores[scores["metric"] == metric]
    mine = mine[mine["variant"] == next((name for name in VARIANTS if (mine["variant"] == name).any()), "")]
    mine = mine.rename(columns={"model": "bare", "label": "model"}).assign(coordinate=mine["coordinate"].round(6))
    keys = [key for key in KEYS if key in rows]
    theirs = _canonical(rows, set(mine["perturbation"]), names_of, aliases)
    causes: Counter[str] = Counter()
    for key in names_of.keys() & set(keys):
        causes.update(f"unknown {key} {name!r}" for name in rows.loc[theirs[key].isna(), key])
    theirs = theirs[theirs[keys].notna().all(axis=1)]
    repeated = theirs.duplicated(keys, keep=False)
    causes["the sheet has several rows for one score"] += int(repeated.sum())
    groups = mine.groupby(keys)
    means = groups["value"].mean().rename("measured")
    if "dataset" not in keys and "perturbation" in keys:
        means = means[groups["dataset"].nunique() == 1]  # ambiguous between two screens
    pairs = theirs[~repeated].merge(means.reset_index(), on=keys, how="left")
    causes.update(f"no such score of {name!r}" for name in pairs.loc[pairs["measured"].isna(), "model"])
    matched = pairs[pairs["measured"].notna()]
    apart = (matched["measured"] - matched["value"]).abs()
    largest, median = (float(apart.max()), float(apart.median())) if len(apart) else (None, None)
    note = "; ".join(f"{number} rows: {cause}" for cause, number in sorted(causes.items()) if number)
    return SheetResult(sheet.file, sheet.name, metric, len(rows), len(matched), largest, median, note)


def _canonical(
    rows: pd.DataFrame, perturbations: set[str], names_of: Mapping[str, Mapping[str, str]], aliases: Mapping[str, str]
) -> pd.DataFrame:
    """Return the rows with the run's names of models, datasets and perturbations; None for unknown names."""
    import pandas as pd

    theirs = rows.copy()
    for key in names_of.keys() & set(rows):
        words = [plain(name) for name in rows[key]]
        names = [names_of[key].get(plain(aliases.get(word, word))) for word in words]
        theirs[key] = pd.Series(names, rows.index, dtype=object)
    if "perturbation" in rows:
        theirs["perturbation"] = [_perturbation(str(label), perturbations) for label in rows["perturbation"]]
    for key in {"seed", "coordinate"} & set(rows):
        theirs[key] = pd.to_numeric(rows[key], errors="coerce").round(6)
    return theirs


def _perturbation(label: str, perturbations: set[str]) -> str:
    """Return the canonical label of targets joined by ``+`` or, if no such perturbation is known, by ``_``."""
    candidates = []
    for separator in ("+", "_"):
        parts = {part.strip() for part in label.split(separator)} - {"ctrl", CONTROL, ""}
        candidates.append("+".join(sorted(parts)))
    return next((candidate for candidate in candidates if candidate in perturbations), candidates[0])


def write_results(results: Sequence[SheetResult], path: Path) -> None:
    """Write the results of all sheets, with all digits."""
    import pandas as pd

    frame = pd.DataFrame([asdict(result) for result in results], columns=list(SheetResult.__dataclass_fields__))
    write_text(path, as_csv(frame))


def describe_result(result: SheetResult) -> str:
    """Return one line on a sheet."""
    where = f"{result.file}, sheet {result.sheet!r}"
    if not result.metric:
        return f"{where}: {result.note}"
    apart = (
        f"differences: largest {result.max_difference:.3g}, median {result.median_difference:.3g}"
        if result.max_difference is not None
        else "nothing to compare"
    )
    return f"{where}, {result.metric}: {result.matched} of {result.rows} values matched; {apart}" + (
        f"; {result.note}" if result.note else ""
    )
