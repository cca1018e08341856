"""Convert the values of a file to log1p of counts per 10 000, or raise an error if their scale is unclear."""

from __future__ import annotations

from typing import Any

import numpy as np

from pertharness.contract.errors import DataError
from pertharness.datasets.labelling import quote
from pertharness.datasets.multiples import TOLERANCE
from pertharness.datasets.options import FileOptions
from pertharness.datasets.scale import ScaleReading, have_one_total, judge, sums_of
from pertharness.datasets.transformations import NATURAL, TOTAL, TRANSFORMATIONS
from pertharness.datasets.values import Survey, Values, changed_values, describe_value, refuse_kind

_AS_IT_IS = "or accept the values as they are with --scale log1p"
_MOST_FOR_LOGS = 1e8
"""Largest total of expm1 of a cell for which values may be logarithms: a hundred times counts per million."""
_LOGS = ("ln", "log2", "log10", "twice")


def to_log1p(
    values: Values, survey: Survey, totals: np.ndarray | None, options: FileOptions, notes: list[str], *,
    level: str = "cells", stated: bool = False,
) -> Any:  # fmt: skip
    """Return values as log1p of counts per 10 000, and add a note on the conversion.

    Parameters
    ----------
    values, survey
        Results of ``survey_values``.
    totals
        Counts of each row over all genes, including genes that are not in the file; shape (n_obs,).
    options, notes
        The user's options, of which ``scale``, ``normalise`` and ``rescale`` are used; and the notes, for one line.
    level, stated
        ``cells`` or ``pseudobulk``, and whether ``uns`` states that the values are log1p of counts per 10 000.

    Raises
    ------
    DataError
        If the values are not on the declared or required scale; the message names the flag to use.
    """
    others = f"; or take another layer with --layer ({quote(values.layers)})" if values.layers else ""
    remedy = f"z-scores or other centred values cannot be used, save log-normalised or raw values as X{others}"
    refuse_kind(values, survey, "negative", f"0 or more: {remedy}")
    fraction = survey.first.get("fraction")
    if fraction is None and options.scale == "log1p":
        raise DataError(
            f"{values.where} holds only integers: these are counts, not --scale log1p; use --normalise instead{others}"
        )
    if fraction is None or options.scale == "counts":
        return _from_counts(values, survey, totals, options, notes, others)
    if options.normalise:
        raise DataError(
            f"{describe_value(values, fraction)}; --normalise expected integer counts: leave it out if these are log1p "
            f"values, add --scale counts if they are counts, take --rescale if they are logs of another total{others}"
        )
    if level == "pseudobulk":
        return _from_means(values, survey, options, notes, others, stated=stated)
    return _from_logs(values, survey, totals, options, notes, others, stated=stated)


def _from_counts(
    values: Values, survey: Survey, totals: np.ndarray | None, options: FileOptions, notes: list[str], others: str
) -> Any:
    """Return normalised counts; raise an error if the values are not counts."""
    is_whole = "fraction" not in survey.first
    if not options.normalise:
        state = "holds only integers: raw counts" if is_whole else "is declared as --scale counts"
        raise DataError(
            f"{values.where} {state}, the largest {survey.largest!r}; expected log1p of counts per "
            f"10 000: normalise it with --normalise{others}"
        )
    reading = None if is_whole else judge(survey.evidence)
    if reading is not None and reading.kind in ("cp10k", "constant") and reading.transformation in _LOGS:
        raise DataError(
            f"{values.where} is declared as --scale counts, and {_words(values, reading)}: these are logarithms; leave "
            f"out --scale counts and --normalise{'' if reading.kind == 'cp10k' else ', and take --rescale'}{others}"
        )
    return _normalise(values, survey.sums, totals, notes)


def _from_logs(
    values: Values, survey: Survey, totals: np.ndarray | None, options: FileOptions, notes: list[str], others: str, *,
    stated: bool,
) -> Any:  # fmt: skip
    """Return logarithms of cells, rescaled if necessary; raise an error if their scale is unclear."""
    reading = judge(survey.evidence, totals)
    remedy = (
        f"at most log1p(10 000) = 9.21: if these are counts without a logarithm, --scale counts --normalise; if they "
        f"are logarithms of another total than 10 000, --rescale{others}"
    )
    is_linear = reading.kind == "constant" and reading.transformation == "none"
    is_known = reading.kind in ("constant", "whole", "depth") and not is_linear
    is_above = reading.kind == "above" and reading.high < _MOST_FOR_LOGS
    if options.rescale and (is_known or is_linear or is_above):
        return _rescale(values, survey, totals, reading, notes)
    if not is_known or options.scale:
        refuse_kind(values, survey, "too high", remedy)
    words = _words(values, reading)
    is_refused = reading.kind not in ("cp10k", "subset")
    if is_refused and not options.scale and not stated:
        if is_linear:
            advice = f"normalise them with --scale counts --normalise, {_AS_IT_IS}"
        elif is_known or is_above:
            advice = f"rescale them with --rescale, {_AS_IT_IS}"
        else:
            advice = f"use the counts, {_AS_IT_IS}"
        raise DataError(f"{values.where}: {words}; expected log1p of counts per 10 000: {advice}{others}")
    if options.rescale and reading.kind != "cp10k":
        raise DataError(
            f"{values.where}: {words}; --rescale expected cells that add up to a total, or to the counts themselves: "
            f"leave it out if these are log1p of counts per 10 000{others}"
        )
    how = "declared" if options.scale else "uns['pertharness'] states it" if stated else "found"
    notes.append(
        f"scale: {values.where} taken as log1p of counts per 10 000 ({how}; {'but ' if is_refused else ''}{words})"
    )
    if reading.n_empty:
        notes.append(f"scale: {reading.n_empty} rows of {values.where} have no value above 0")
    return values.matrix


def _from_means(
    values: Values, survey: Survey, options: FileOptions, notes: list[str], others: str, *, stated: bool
) -> Any:
    """Return means over cells, rescaled if necessary; their totals of expm1 are lower than those of cells."""
    sums = survey.evidence.sums
    median = float(np.median(sums))
    is_total = have_one_total(survey.evidence) and abs(median / TOTAL - 1) > TOLERANCE
    if options.rescale:
        if not is_total:
            raise DataError(
                f"{values.where}: the sums of expm1 over the genes differ between the rows, or are 10 000: means of "
                f"logarithms cannot be rescaled; rescale the cells and average them again{others}"
            )
        return _rescale(values, survey, None, ScaleReading("constant", total=median), notes)
    refuse_kind(
        values, survey, "too high",
        f"at most log1p(10 000) = 9.21: if these are counts without a logarithm, --scale counts --normalise{others}",
    )  # fmt: skip
    if not options.scale and not stated and median > TOTAL * (1 + TOLERANCE):
        raise DataError(
            f"{values.where}: the sum of expm1 over the genes is {median:.4g} in the median row, expected "
            f"at most 10 000: these are logs of another total; give log1p of counts per 10 000 as X, {_AS_IT_IS}"
            f"{others}"
        )
    if not options.scale and not stated and is_total:
        words = _words(values, ScaleReading("constant", total=median))
        raise DataError(
            f"{values.where}: {words}; expected log1p of counts per 10 000: rescale them with --rescale, {_AS_IT_IS}"
            f"{others}"
        )
    how = "declared" if options.scale else "uns['pertharness'] states it"
    if not options.scale and not stated:
        how = "this cannot be checked at level pseudobulk; confirm it with --scale log1p"
    notes.append(f"scale: {values.where} taken as log1p of counts per 10 000 ({how})")
    return values.matrix


def _words(values: Values, reading: ScaleReading) -> str:
    """Return the scale of the values in words."""
    transformation = TRANSFORMATIONS[reading.transformation].words
    inverse = "expm1" if reading.transformation == NATURAL else f"the inverse of {transformation}"
    low, high = f"{reading.low:.5g}", f"{reading.high:.5g}"
    of_total = f"{transformation} of counts normalised to {reading.total:.6g} in each cell"
    descriptions = {
        "cp10k": "the sum of expm1 over the genes is 10 000 in each row",
        "subset": f"the sum of expm1 over the genes differs from row to row and stays below 10 000 ({low} to {high} in "
        f"90 % of {reading.n_other} rows), as where genes were left out after normalising; another total of the cells "
        "could not be seen",
        "constant": f"the sum over the genes of {inverse} is {reading.total:.6g} in the median row and does not vary "
        f"as counts would: {of_total}",
        "whole": f"they are {transformation} of whole numbers: raw counts that were not normalised",
        "depth": f"the sum of expm1 over the genes grows with the counts of the cells ({low} to {high} in 90 % of "
        f"{reading.n_other} rows): {transformation} of counts with fractions that were not normalised",
        "above": f"the sum of expm1 over the genes differs from row to row and is up to {high} (first in row "
        f"{values.rows[reading.row]!r}), more than 10 000: logs of another total",
        "other": f"they are {transformation} of counts times a factor that is not 10 000 over a number of counts, and "
        "genes are missing: their total is unknown",
        "again": "the sum of expm1 over the genes is 10 000 in each row, but they are made of values that were log1p "
        "of counts per 10 000 before: normalised and logged twice",
    }
    if reading.factor is not None:
        return f"they are {of_total}, of which genes were left out"
    return descriptions[reading.kind]


def _rescale(values: Values, survey: Survey, totals: np.ndarray | None, reading: ScaleReading, notes: list[str]) -> Any:
    """Undo the transformation of the counts, scale each row to 10 000, and take log1p."""
    inverse = TRANSFORMATIONS[reading.transformation].inverse
    sums = survey.evidence.sums
    own = None
    if reading.kind in ("whole", "depth") and reading.transformation == NATURAL and totals is not None:
        own = np.maximum(totals, sums) if (totals >= sums * (1 - 1e-5) - 0.5).all() else None
    divisor = "the sums over the genes of the file"
    if reading.factor is not None:
        divisor = f"{reading.total:.6g}"
    elif own is not None:
        divisor = "the totals in obs"
    notes.append(
        f"scale: {values.where} rescaled: {_words(values, reading)}; undone, divided by {divisor}, times 10 000, log1p"
    )

    def to_logs(chunk: Any, start: int) -> Any:
        n_rows = chunk.shape[0]
        if reading.factor is not None:
            factors = np.full(n_rows, reading.factor)
        else:
            totals_of_rows = sums_of(chunk, inverse, np.float64) if own is None else own[start : start + n_rows]
            factors = TOTAL / np.where(totals_of_rows > 0, totals_of_rows, 1.0)
        if isinstance(chunk, np.ndarray):
            return np.log1p(inverse(chunk.astype(np.float64)) * factors[:, None])
        scaled = chunk.astype(np.float64)
        scaled.data = np.log1p(inverse(scaled.data) * np.repeat(factors, np.diff(scaled.indptr)))
        return scaled

    return changed_values(values, np.float64, to_logs).matrix


def _normalise(values: Values, sums: np.ndarray, totals: np.ndarray | None, notes: list[str]) -> Any:
    """Return log1p(10 000 x / total), with the totals of the file if they can be sums over all genes."""
    if totals is not None and not (totals >= sums - 0.5).all():  # stored totals may be rounded
        totals = None
    divisor = "the totals in obs" if totals is not None else "the sums over the genes of the file"
    totals = sums if totals is None else totals
    if not (totals > 0).all():
        row = values.rows[int(np.argmin(totals > 0))]
        raise DataError(f"{values.where} has no counts in row {row!r}: it cannot be normalised; remove the row")
    notes.append(f"scale: counts of {values.where} divided by {divisor}, times 10 000, log1p")
    factors = 1e4 / np.maximum(totals, sums)  # rounded totals may be a little below the sums

    def to_logs(chunk: Any, start: int) -> Any:
        factors_of_rows = factors[start : start + chunk.shape[0]]
        if isinstance(chunk, np.ndarray):
            return np.log1p(chunk * factors_of_rows[:, None])
        scaled = chunk.astype(np.float64)
        scaled.data = np.log1p(scaled.data * np.repeat(factors_of_rows, np.diff(scaled.indptr)))
        return scaled

    return changed_values(values, np.float64, to_logs).matrix
