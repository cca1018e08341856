"""The scorer ``interactions``: how well a model predicts what doubles deviate from the sum of their singles by.

Definitions: doi 10.1038/s41592-025-02772-6; ``docs/metrics.md``. Calls and classes say something of the screen alone,
and are of all its doubles; curves, areas and the largest deviations are of the answered queries of one split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pertharness import DataError, Scores, Skip, control_mean

from pertharness_scorers.answers import Answers, long_form, match_answers
from pertharness_scorers.curves import GRID
from pertharness_scorers.detection import detect
from pertharness_scorers.deviations import Doubles, observe_doubles, take, without_rounding
from pertharness_scorers.interaction_offer import N_HIGHLIGHTED, N_LARGEST, N_RECURRENT, PARAMS
from pertharness_scorers.interactions import CLASSES, Call, call_interactions, classify, composition, is_called
from pertharness_scorers.locfdr.checks import MINIMUM
from pertharness_scorers.locfdr.no_null import NoNull
from pertharness_scorers.panel import top_genes
from pertharness_scorers.recurrence import largest, recurrence

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def score_interactions(
    truth: AnnData, prediction: AnnData, controls: AnnData, train: AnnData, screen: AnnData, params: Mapping[str, Any]
) -> Scores:
    """Score the deviations that a model predicts, and describe those of the screen.

    A prediction of which no entry deviates from additivity does not compete: it has neither scores nor largest entries.

    Returns
    -------
    Scores
        The metrics and tables of `pertharness_scorers.interaction_offer.OFFER`.

    Raises
    ------
    Skip
        If the screen has no double whose singles it holds, or no thresholds can be estimated.
    DataError
        If a parameter is out of its range.
    """
    settings = _check_params({**PARAMS, **params})
    panel = top_genes(control_mean(controls), settings["n_top"])
    labels = [str(label) for label in screen.obs["perturbation"]]
    means = np.asarray(screen.X, dtype=np.float64)[:, panel]
    doubles = observe_doubles(labels, means, control_mean(screen)[panel])
    _check_number(doubles, settings["stack"])
    call = _call(doubles.deviation, settings["stack"], settings["level"])
    genes = screen.var_names.to_numpy()[panel]
    tables = _describe_screen(doubles, genes, call)
    held = _hold_out(match_answers(truth, prediction, controls, train, settings["n_top"]), doubles)
    tables["top500_class"] = _classify_largest(held, call, N_LARGEST)
    tables["top100_recurrence"] = _count_recurrent(held, N_RECURRENT)
    return Scores(_score_model(held, call), tables)


def _check_params(params: dict[str, Any]) -> dict[str, Any]:
    """Raise an error for a parameter out of its range."""
    for name in ("n_top", "stack"):
        if params[name] < 1:
            raise DataError(f"interactions: expected {name} of at least 1, got {params[name]!r}")
    if not 0 < params["level"] < 1:
        raise DataError(f"interactions: expected a level between 0 and 1, got {params['level']!r}")
    return params


def _check_number(doubles: Doubles, stack: int) -> None:
    """Refuse a screen without doubles, or with too few entries for thresholds.

    Raises
    ------
    Skip
        With the numbers that there are.
    """
    n_doubles, n_genes = doubles.deviation.shape
    n_all = n_doubles + len(doubles.left_out)
    if not n_doubles:
        raise Skip(f"the screen has no double both of whose singles it holds (of {n_all} in all)")
    if n_doubles * n_genes * stack < MINIMUM:
        copies = f" x {stack} copies" if stack > 1 else ""
        raise Skip(
            f"doubles both of whose singles the screen holds: {n_doubles} of {n_all}; {n_doubles} x {n_genes} "
            f"entries{copies} are too few for thresholds, at least {MINIMUM} are needed"
        )


def _call(deviations: np.ndarray, stack: int, level: float) -> Call:
    """Call the interactions of a screen.

    Raises
    ------
    Skip
        If its deviations are such that no null can be estimated: no model can be scored on this screen. What to do is
        left out: the scorer has no such options.
    """
    try:
        return call_interactions(np.asarray(deviations).ravel(), stack=stack, level=level)
    except NoNull as error:
        raise Skip(f"no thresholds for the deviations from additivity: {error.cause}") from None


def _describe_screen(doubles: Doubles, genes: np.ndarray, call: Call) -> dict[str, pd.DataFrame]:
    """Return the tables that hold for every model: call, composition, and the called entries with their classes."""
    import pandas as pd

    kinds = classify(doubles.effect, doubles.first, doubles.second)
    names, labels, additive = np.array(CLASSES), np.array(doubles.labels), doubles.expectation - doubles.y0
    calls, shares, entries = [], [], []
    for threshold, limits in call.thresholds.items():
        outside = is_called(doubles.deviation, limits.lower, limits.upper)
        calls.append(_call_row(threshold, call, doubles))
        shares += [(threshold, *share) for share in composition(np.where(outside, kinds, 0))]
        rows, columns = np.nonzero(outside)
        entries.append(
            pd.DataFrame(
                {
                    "threshold": threshold, "perturbation": labels[rows], "gene": genes[columns],
                    "deviation": doubles.deviation[outside], "additive": additive[outside],
                    "class": names[kinds[outside]],
                }
            )
        )  # fmt: skip
    return {
        "interaction_call": pd.DataFrame(calls),
        "class_composition": pd.DataFrame(shares, columns=["threshold", "class", "count", "share"]),
        "interaction_class": pd.concat(entries, ignore_index=True),
    }


def _call_row(threshold: str, call: Call, doubles: Doubles) -> dict[str, Any]:
    """Return the row of a kind of threshold in the table ``interaction_call``."""
    n_doubles, n_genes = doubles.deviation.shape
    return {
        "threshold": threshold, **asdict(call.thresholds[threshold]), "delta": call.delta, "sigma": call.sigma,
        "p0": call.p0, "z2_lower": call.z2[0], "z2_upper": call.z2[1], "n_values": call.n,
        "n_doubles": n_doubles, "n_genes": n_genes, "n_left_out": len(doubles.left_out),
        "warnings": "; ".join(call.warnings),
    }  # fmt: skip


@dataclass(frozen=True)
class _Held:
    """The answered doubles: y - A and yhat - A, shape (n_doubles, n_genes), and their changes from the control."""

    doubles: Doubles
    genes: np.ndarray
    observed: np.ndarray
    predicted: np.ndarray
    observed_effect: np.ndarray
    predicted_effect: np.ndarray

    def names(self, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return perturbation and gene of entries, which are counted along the rows."""
        rows, columns = np.divmod(entries, len(self.genes))
        return np.array(self.doubles.labels)[rows], self.genes[columns]


def _hold_out(answers: Answers, doubles: Doubles) -> _Held:
    """Put the whole answers beside the doubles, in the order of the screen.

    Where scores are tied, neither the order of the queries nor that of the answers may decide.
    """
    whole = zip(answers.labels, answers.defined(), strict=True)
    row_of = {label: row for row, (label, is_whole) in enumerate(whole) if is_whole}
    held = take(doubles, row_of)
    rows = [row_of[label] for label in held.labels]
    y, yhat = answers.y[rows], answers.yhat[rows]
    return _Held(
        doubles=held, genes=answers.genes, observed=y - held.expectation, observed_effect=y - held.y0,
        predicted=without_rounding(yhat - held.expectation), predicted_effect=without_rounding(yhat - held.y0),
    )  # fmt: skip


def _score_model(held: _Held, call: Call) -> pd.DataFrame:
    """Return the scores of a model; none if it predicts no deviation."""
    import pandas as pd

    if not held.predicted.any():
        return long_form("", {})
    by_metric = detect(held.predicted.ravel(), held.observed.ravel(), call)
    curves = long_form("tpr_fdp", by_metric.pop("tpr_fdp"), coordinates=list(GRID.round(2)))
    areas = [
        long_form(metric, {variant: np.array([value]) for variant, value in values.items()})
        for metric, values in by_metric.items()
    ]
    return pd.concat([curves, *areas], ignore_index=True)


def _classify_largest(held: _Held, call: Call, n: int) -> pd.DataFrame:
    """Return the entries with the largest predicted deviations, and their classes as predicted and as called."""
    import pandas as pd

    entries = _largest(held.predicted, n)
    perturbations, genes = held.names(entries)
    singles = held.doubles.first.ravel()[entries], held.doubles.second.ravel()[entries]
    predicted, observed = (
        classify(effect.ravel()[entries], *singles) for effect in (held.predicted_effect, held.observed_effect)
    )
    local = call.thresholds["local"]
    deviation, names = held.observed.ravel()[entries], np.array(CLASSES)
    return pd.DataFrame(
        {
            "perturbation": perturbations, "gene": genes, "predicted": held.predicted.ravel()[entries],
            "observed": deviation, "predicted_class": names[predicted],
            "observed_class": names[np.where(is_called(deviation, local.lower, local.upper), observed, 0)],
        }
    )  # fmt: skip


def _count_recurrent(held: _Held, n: int) -> pd.DataFrame:
    """Count genes and perturbations among the largest deviations, by size (default) and signed (published-code)."""
    import pandas as pd

    rows = []
    if held.predicted.any():
        for of, values in (("prediction", held.predicted), ("truth", held.observed)):
            for variant, entries in (("default", _largest(values, n)), ("published-code", largest(values.ravel(), n))):
                for kind, names in zip(("perturbation", "gene"), held.names(entries), strict=True):
                    counts = recurrence(names.tolist())  # the most frequent first
                    rows += [(variant, of, kind, *item, i < N_HIGHLIGHTED) for i, item in enumerate(counts)]
    return pd.DataFrame(rows, columns=["variant", "of", "kind", "name", "n", "highlighted"])


def _largest(deviations: np.ndarray, n: int) -> np.ndarray:
    """Return the entries with the largest deviations, none of which is 0."""
    sizes = np.abs(deviations).ravel()
    return largest(sizes, min(n, int(np.count_nonzero(sizes))))
