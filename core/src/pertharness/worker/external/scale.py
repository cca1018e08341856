"""Detect whether the rows of a file of predictions are means or changes, and on which scale.

The scale of cells shows in the total of each cell, as in a dataset. Means have no such total; they can only be compared
with the mean of the controls, by the order and the level of the genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pertharness.datasets.scale import Evidence, ScaleReading, judge
from pertharness.datasets.transformations import NATURAL, TOTAL, TRANSFORMATIONS
from pertharness.worker.external.file import AS_LOGS, PredictionFile
from pertharness.worker.external.genes import Columns

_NOT_ALIKE, _ALIKE = 0.5, 0.9
"""Correlations with the control mean: changes are below the first, means above the second. Most perturbed cells are
similar to controls."""
_OTHER_LEVEL = 2.0
"""Factor between values and the control mean, up or down, from which values are on another scale. log10 is at 0.43 of
log1p of counts per 10 000, counts per million at 3 to 5. No perturbation in the screens of Norman et al. (doi
10.1126/science.aax4438) exceeds 1.3."""
_NOTED_LEVEL = 1.25
"""Factor from which a note is made: log2 is at 1.44, totals other than 10 000 at 0.5 to 1.3."""
_LIKE_COUNTS, _MORE_LIKE_COUNTS, _ROW_MORE_LIKE_COUNTS = 0.85, 0.03, 0.1
"""Values have no logarithm if their correlation with the expm1 of the control mean is above the first number, and
exceeds that with the control mean by the second. For logarithms it is 0.05 to 0.2 less in the median row. Single
perturbations of the strongest genes reach 0.02 more in the screen of Norman et al., so that the limit for a single row,
the third number, is higher."""
_FEWEST_CELLS = 10
"""Fewest distinct rows from which a scale is detected."""
_FEWEST_GENES = 20
"""Fewest common genes for a note that rows are not similar to the controls."""
_INSISTS = "or set --prediction-kind mean if these are means of log1p of counts per 10 000"


def check_kind(values: np.ndarray, y0: np.ndarray, file: PredictionFile, kind: str | None) -> list[str]:
    """Raise an error for changes that are not declared, and for means that are declared as changes.

    A mean is similar to that of the controls. A change is not, but becomes so if the mean of the controls is added. The
    median over the perturbations decides; single values and their signs do not matter.

    Parameters
    ----------
    values
        A row per perturbation, shape (n_perturbations, n_genes); NaN if the file lacks a gene.
    y0
        Mean of the controls, shape (n_genes,), log1p of counts per 10 000.

    Returns
    -------
    list
        A note if the rows look like neither.
    """
    alone, added = _median_correlation(values, y0), _median_correlation(values + y0, y0)
    if kind is None and alone < _NOT_ALIKE and added > _ALIKE:
        raise file.fault(
            "the rows look like changes from the control: the median correlation of a row with the mean of the "
            f"controls is {alone:.2f}, and {added:.2f} once that mean is added; expected mean log-normalised "
            "expression: add the mean with --prediction-kind change, or set --prediction-kind mean if these are means"
        )
    if kind == "change" and alone > _ALIKE:
        raise file.fault(
            "the rows look like means, not changes (--prediction-kind change): the median correlation of a row with "
            f"the mean of the controls is {alone:.2f}; leave out --prediction-kind"
        )
    if kind is None and alone < _NOT_ALIKE and np.isfinite(values).all(axis=0).sum() >= _FEWEST_GENES:
        return [
            f"the rows of {file.name} are not similar to the mean of the controls (median correlation {alone:.2f}): "
            "check that these are log1p of counts per 10 000, and that the genes have the right names"
        ]
    return []


def _median_correlation(values: np.ndarray, y0: np.ndarray) -> float:
    """Return the median over the rows of their correlation with `y0`; see `_correlation`."""
    return float(np.median([_correlation(row, y0) for row in values]))


def _correlation(row: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two rows over the finite values of the first; 0 if one of them is constant."""
    is_finite = np.isfinite(row)
    x, y = row[is_finite], other[is_finite]
    varies = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
    return float(np.corrcoef(x, y)[0, 1]) if varies else 0.0


@dataclass(frozen=True)
class Level:
    """How a row compares with the control mean.

    Attributes
    ----------
    likeness
        The larger of the correlations of the values and of their ranks.
    slope, ratio
        Slope of the least-squares line over the genes, and ratio of the sums: 1 for values on the same scale. A shift
        of all genes changes only the ratio; a model that shrinks genes to their mean changes only the slope.
    counts
        Correlation with the expm1 of the control mean, minus that with the control mean; -1 if the first is low.
    """

    likeness: float
    slope: float
    ratio: float
    counts: float

    def is_off(self, factor: float) -> bool:
        """Return whether a similar row is off by a factor, in both slope and ratio and in the same direction."""
        off = max(self.slope, self.ratio) < 1 / factor or min(self.slope, self.ratio) > factor
        return self.likeness > _ALIKE and off


def level_of(row: np.ndarray, y0: np.ndarray) -> Level:
    """Return how a row compares with the control mean, over its finite values."""
    is_finite = np.isfinite(row)
    x, y = y0[is_finite], row[is_finite]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Level(0.0, 1.0, 1.0, -1.0)
    plain, ranked, unlogged = _correlation(y, x), _correlation(_ranks(y), _ranks(x)), _correlation(y, np.expm1(x))
    slope = plain * float(y.std() / x.std())
    ratio = float(y.sum() / x.sum()) if x.sum() > 0 else 1.0
    return Level(max(plain, ranked), slope, ratio, unlogged - plain if unlogged > _LIKE_COUNTS else -1.0)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values; ties have their average rank."""
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(values)
    return ranks


def check_level(
    values: np.ndarray, y0: np.ndarray, file: PredictionFile, labels: Sequence[str], columns: Columns
) -> list[str]:
    """Raise an error for means that are similar to the control mean, but below half or above twice its level.

    Returns
    -------
    list
        A note if the level is off by less than that.

    Raises
    ------
    DataError
        If most rows are off, if values have no logarithm, or if single rows are on another scale than the others.
    """
    levels = [level_of(row, y0) for row in values]
    middle = Level(*(float(np.median([getattr(each, name) for each in levels])) for name in Level.__annotations__))
    measured = (
        f"the median correlation of a row with the mean of the controls is {middle.likeness:.2f}, the slope of the "
        f"line through the genes {middle.slope:.2g}, the ratio of the sums {middle.ratio:.2g}"
    )
    if middle.counts > _MORE_LIKE_COUNTS:
        raise file.fault(
            "the values do not look like logarithms: they are more similar to the expm1 of the mean of the controls "
            f"than to that mean ({measured}); {AS_LOGS}, {_INSISTS}"
        )
    if middle.is_off(_OTHER_LEVEL):
        raise file.fault(
            f"the values seem to be on another scale than log1p of counts per 10 000: {measured}, expected about 1; "
            f"{AS_LOGS}, {_INSISTS}"
        )
    _refuse_single_rows(levels, middle, values, file, labels, columns)
    if middle.is_off(_NOTED_LEVEL):
        return [f"{file.name} may be on another scale than the dataset: {measured}, expected about 1"]
    return []


def _refuse_single_rows(
    levels: Sequence[Level],
    middle: Level,
    values: np.ndarray,
    file: PredictionFile,
    labels: Sequence[str],
    columns: Columns,
) -> None:
    """Raise an error for a single row that is on another scale than the others."""
    for row, level in enumerate(levels):
        if level.is_off(_OTHER_LEVEL) or level.counts > _ROW_MORE_LIKE_COUNTS:
            largest = int(np.nanargmax(values[row]))
            raise file.fault(
                f"the rows seem to be on different scales: that of the perturbation {labels[row]!r} has the slope "
                f"{level.slope:.2g} and {level.ratio:.2g} times the sum of the mean of the controls, the median row "
                f"{middle.slope:.2g} and {middle.ratio:.2g} (its largest value is {values[row, largest]:g}, gene "
                f"{columns.names[columns.positions[largest]]!r}); {AS_LOGS}, {_INSISTS}"
            )


def describe_controls(mean: np.ndarray, y0: np.ndarray, file: PredictionFile) -> list[str]:
    """Return a note if the level of the file's own controls differs from that of the dataset's controls."""
    level = level_of(mean, y0)
    if level.likeness <= _ALIKE or 1 / _NOTED_LEVEL <= level.ratio <= _NOTED_LEVEL:
        return []
    return [
        f"{file.name} may be on another scale than the dataset: the mean of its own controls has {level.ratio:.2g} "
        "times the sum of that of the dataset's controls"
    ]


def check_cells(sample: Any, file: PredictionFile, subject: str, *, is_declared: bool) -> list[str]:
    """Raise an error for cells with another total than 10 000, and for raw counts that were not normalised.

    Parameters
    ----------
    sample
        Some cells with all genes of the file, a CSR matrix of shape (n_cells, n_columns).
    subject
        Description of the cells for messages.
    is_declared
        Whether the scale of the dataset was declared instead of checked; then a note is returned instead.

    Raises
    ------
    DataError
        If another scale was detected; the message shows how to convert the values.
    """
    reading = read_cells(sample)
    if reading is None or reading.kind not in ("constant", "whole", "again"):
        return []
    done = TRANSFORMATIONS[reading.transformation].words
    constant = f"expm1 of {subject} adds up to {reading.total:.6g} in each cell, not to 10 000"
    if reading.transformation != NATURAL:  # even if the total is 10 000
        constant = f"{subject} are {done}, whose inverse adds up to {reading.total:.6g} in each cell, not log1p"
    finding = {
        "constant": constant,
        "whole": f"{subject} are {done} of whole numbers: raw counts that were not normalised",
        "again": f"{subject} were normalised and logged twice",
    }[reading.kind]
    if is_declared:
        return [f"{file.name}: {finding}; not converted, because the scale of the dataset was declared"]
    remedy = AS_LOGS
    if reading.kind == "constant" and reading.transformation == NATURAL:
        total = f"{reading.total:.6g}"
        remedy = f"rescale them: adata.X = numpy.log1p(numpy.expm1(adata.X) * {TOTAL:.0f} / {total})"
    raise file.fault(f"{file.where}: {finding}; expected log1p of counts per 10 000: {remedy}, {_INSISTS}")


def read_cells(sample: Any) -> ScaleReading | None:
    """Detect the scale of some cells by their totals; None if too few are distinct, or they are not logarithms.

    Identical rows, such as a mean that is repeated for each cell, count once, because they always have the same total.
    """
    matrix = sample.tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    ends = matrix.indptr
    seen: dict[bytes, int] = {}
    for row in range(matrix.shape[0]):
        values = matrix.data[ends[row] : ends[row + 1]]
        if values.size and np.isfinite(values).all() and (values > 0).all():
            seen.setdefault(values.tobytes() + matrix.indices[ends[row] : ends[row + 1]].tobytes(), row)
    if len(seen) < _FEWEST_CELLS:
        return None
    different = matrix[list(seen.values())]
    evidence = Evidence(np.zeros(different.shape[0]))
    evidence.add(different, 0)
    return judge(evidence)
