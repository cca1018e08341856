"""The three metrics on numbers small enough to do by hand, beside scipy, and their invariances."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import COLUMNS, CONTROL, DataError, Scores
from pertharness_scorers.of_perturbations import OFFERS, score_perturbations
from scipy.stats import pearsonr

NAMES = ["l2", "pearson", "pearson_delta"]
BEST = {"l2": 0.0, "pearson": 1.0, "pearson_delta": 1.0}


def _means(rows, genes):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    x = np.array(list(rows.values()), dtype=float).reshape(len(rows), len(genes))
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=list(genes)))


def _given(name, y, yhat, y0, genes, n_top=1000, train=None, common=None):
    """What the scorer gives; `train` has a perturbation T at 0 unless one is named."""
    truth = _means(y, genes)
    if common is not None:
        truth.var["common"] = common
    return score_perturbations(
        name=name,
        truth=truth,
        prediction=_means(yhat, genes),
        controls=_means({CONTROL: y0}, genes),
        train=_means({CONTROL: y0, **(train or {"T": [0] * len(genes)})}, genes),
        params={"n_top": n_top},
    )


def _table(*args, **kwargs):
    given = _given(*args, **kwargs)
    return given.table if isinstance(given, Scores) else given


def _values(name, y, yhat, y0, genes, n_top=1000, variant="default", **kwargs):
    table = _table(name, y, yhat, y0, genes, n_top, **kwargs)
    rows = table[table["variant"] == variant]
    return dict(zip(rows["perturbation"], rows["value"], strict=True))


Y0 = [4.0, 3.0, 2.0, 1.0]
GENES = ["A", "B", "g3", "g4"]


def test_l2_is_the_root_of_the_sum_of_squares_on_the_panel():
    # Panel of 3: A, B, g3. Errors (1, -2, 2): sqrt(1 + 4 + 4); the 100 of g4 is not on the panel.
    assert _values("l2", {"X": [1, 2, 3, 0]}, {"X": [2, 0, 5, 100]}, Y0, GENES, n_top=3) == {"X": 3.0}


def test_pearson_correlates_prediction_and_observation():
    # Centred: y (-1, 0, 1), yhat (-1, 1, 0): 1 / (sqrt 2 sqrt 2)
    assert _values("pearson", {"X": [1, 2, 3, 9]}, {"X": [1, 3, 2, 0]}, Y0, GENES, 3)["X"] == pytest.approx(0.5)


def test_pearson_delta_correlates_the_changes_from_control():
    # Changes: y (0, 1, 2), yhat (1, 0, -1)
    assert _values("pearson_delta", {"X": [4, 4, 4, 0]}, {"X": [5, 3, 1, 0]}, Y0, GENES, 3)["X"] == pytest.approx(-1)


def test_variant_without_targets_leaves_the_own_targets_out():
    y, yhat = {"A+X": [1, 2, 3, 4], "B": [0, 0, 0, 0]}, {"A+X": [9, 2, 3, 5], "B": [3, 9, 4, 0]}
    # A+X: errors (8, 0, 0, 1) without A; B: errors (3, 9, 4, 0) without B
    assert _values("l2", y, yhat, Y0, GENES, variant="no-targets") == {"A+X": 1.0, "B": 5.0}
    assert _values("l2", y, yhat, Y0, GENES) == pytest.approx({"A+X": 65**0.5, "B": 106**0.5})


def test_panel_comes_from_the_controls_and_not_from_the_prediction():
    # Were the panel taken from the prediction, it would be g4, where the prediction is right.
    assert _values("l2", {"X": [1, 0, 0, 7]}, {"X": [0, 0, 0, 7]}, Y0, GENES, n_top=1) == {"X": 1.0}


def test_table_has_a_row_per_answered_query_and_variant():
    table = _table("l2", {"X": Y0, "Y": Y0, "A": Y0}, {"A": Y0, "X": Y0}, Y0, GENES)
    assert tuple(table.columns) == COLUMNS
    assert list(zip(table["variant"], table["perturbation"], strict=True)) == [
        (variant, label) for variant in ("default", "no-targets", "published-code") for label in ("X", "A")
    ]
    assert set(table["metric"]) == {"l2"}
    assert set(table["gene"]) == set(table["coordinate"]) == {""}


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_at_all_gives_an_empty_table(name):
    table = _table(name, {"X": Y0}, {}, Y0, GENES)
    assert tuple(table.columns) == COLUMNS
    assert table.empty


def test_no_change_has_no_pearson_delta_even_after_float32():
    y0 = np.array([9.1234567, 3.3, 2.2, 1.1])
    stored = y0.astype(np.float32).astype(float)
    assert (stored != y0).any()
    assert np.isnan(_values("pearson_delta", {"X": [1, 2, 3, 4]}, {"X": stored}, y0, GENES)["X"])


@pytest.mark.parametrize(
    ("name", "y", "yhat"),
    [
        ("pearson", [1, 2, 3, 4], [0.1 + 0.2, 0.3, 0.3, 0.3]),
        ("pearson", [2, 2, 2, 2], [1, 2, 3, 4]),
        ("pearson_delta", [1, 2, 3, 4], np.add(Y0, 0.1)),
        ("pearson_delta", np.subtract(Y0, 0.7), [1, 2, 3, 4]),
    ],
)
def test_correlation_with_a_constant_side_is_undefined(name, y, yhat):
    assert np.isnan(_values(name, {"X": y}, {"X": yhat}, Y0, GENES)["X"])


MISSING = {"X": [1, np.nan, 5, 4], "Y": [2, np.nan, 4, 4]}


def test_missing_gene_gets_the_mean_of_the_training_conditions():
    # B is predicted for none: filled with the mean (2 + 6) / 2 of T and U, control left out.
    # X: errors (0, 4 - 3, 5 - 5, 0); Y without its target A: it has none. published-code: B left out.
    train, y = {"T": [0, 2, 0, 0], "U": [0, 6, 0, 0]}, {"X": [1, 3, 5, 2], "Y": [2, 1, 4, 0]}
    found = {v: _values("l2", y, MISSING, Y0, GENES, variant=v, train=train) for v in ("default", "published-code")}
    assert found["default"] == pytest.approx({"X": 5**0.5, "Y": 25**0.5})
    assert found["published-code"] == {"X": 2.0, "Y": 4.0}


@pytest.mark.parametrize("name", NAMES)
def test_published_code_and_common_genes_are_scores_on_fewer_genes(name):
    y, yhat, y0, genes = _screen(3)
    lacking = {label: np.where(np.arange(40) % 5 == 1, np.nan, row) for label, row in yhat.items()}
    kept = np.arange(40) % 5 != 1
    few = [{label: row[kept] for label, row in rows.items()} for rows in (y, yhat)]
    expected = pytest.approx(_values(name, *few, y0[kept], [g for g, k in zip(genes, kept, strict=True) if k]))
    assert _values(name, y, lacking, y0, genes, variant="published-code") == expected
    assert _values(name, y, lacking, y0, genes, variant="common-genes", common=kept) == expected


def test_common_genes_are_scored_only_where_they_are_known():
    assert "common-genes" not in set(_table("l2", {"X": Y0}, {"X": Y0}, Y0, GENES)["variant"])


@pytest.mark.parametrize("name", NAMES)
def test_prediction_without_any_value_is_undefined_in_every_variant(name):
    nothing = {"X": [np.nan] * 4}
    assert _table(name, {"X": Y0}, nothing, Y0, GENES, common=[True] * 4)["value"].isna().all()


def test_gene_coverage_names_the_missing_genes_of_the_panel():
    given = _given("l2", {"X": Y0, "Y": Y0}, MISSING, Y0, GENES, n_top=3)
    assert given.artefacts["gene_coverage"].to_dict("records") == [{"n_panel": 3, "n_genes": 2, "missing": "B"}]
    whole = _given("l2", {"X": Y0}, {}, Y0, GENES).artefacts["gene_coverage"]
    assert whole.to_dict("records") == [{"n_panel": 4, "n_genes": 4, "missing": ""}]


@pytest.mark.parametrize("name", NAMES)
def test_panel_of_own_targets_alone_is_undefined_without_them(name):
    values = _values(name, {"A+B": [1, 2]}, {"A+B": [1, 3]}, [1, 2], ["A", "B"], variant="no-targets")
    assert np.isnan(values["A+B"])


def test_panel_of_no_gene_is_refused():
    with pytest.raises(DataError, match="n_top of at least 1 gene, got 0"):
        _values("l2", {"X": Y0}, {"X": Y0}, Y0, GENES, n_top=0)


def test_each_metric_has_an_offer_of_its_name():
    assert [(s.name, [m.id for m in s.metrics]) for s in OFFERS] == [(name, [name]) for name in NAMES]


# Independent implementations, one perturbation and one gene list at a time.


def _naive(name, y, yhat, y0, genes, n_top, left_out=()):
    order = sorted(range(len(genes)), key=lambda gene: (-y0[gene], gene))[:n_top]
    order = [gene for gene in order if genes[gene] not in left_out]
    a, b, c = ([float(side[gene]) for gene in order] for side in (yhat, y, y0))
    if name == "l2":
        return np.linalg.norm(np.subtract(a, b))
    if name == "pearson":
        return pearsonr(a, b)[0]
    return pearsonr(np.subtract(a, c), np.subtract(b, c))[0]


def _screen(seed, n_perturbations=6, n_genes=40):
    rng = np.random.default_rng(seed)
    genes = [f"g{i:02d}" for i in range(n_genes)]
    y0 = rng.gamma(1.0, 1.0, n_genes)
    labels = [f"g{i:02d}+g{i + 9:02d}" for i in range(n_perturbations)]
    y = {label: y0 + rng.normal(0, 0.3, n_genes) for label in labels}
    yhat = {label: y[label] + rng.normal(0, 0.3, n_genes) for label in reversed(labels)}
    return y, yhat, y0, genes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_top", [7, 25, 1000])
def test_scores_equal_a_loop_with_scipy(name, n_top):
    y, yhat, y0, genes = _screen(11)
    y0[[3, 8, 20]] = y0[5]
    for variant in ("default", "no-targets"):
        left_out = {label: label.split("+") if variant == "no-targets" else () for label in y}
        expected = {label: _naive(name, y[label], yhat[label], y0, genes, n_top, left_out[label]) for label in y}
        assert _values(name, y, yhat, y0, genes, n_top, variant) == pytest.approx(expected, abs=1e-12)


fast = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)
names = st.sampled_from(NAMES)


@fast
@given(seeds, names)
def test_perfect_prediction_gets_the_best_value(seed, name):
    y, _, y0, genes = _screen(seed)
    assert _values(name, y, y, y0, genes) == pytest.approx(dict.fromkeys(y, BEST[name]), abs=1e-12)


@fast
@given(seeds, names)
def test_scores_do_not_depend_on_the_order_of_rows_or_genes(seed, name):
    y, yhat, y0, genes = _screen(seed)
    order = np.random.default_rng(seed + 1).permutation(len(genes))
    shuffled = [{label: rows[label][order] for label in reversed(list(rows))} for rows in (y, yhat)]
    there = _values(name, y, yhat, y0, genes, n_top=15)
    here = _values(name, *shuffled, y0[order], [genes[i] for i in order], n_top=15)
    assert here == pytest.approx(there, abs=1e-12)


@fast
@given(seeds, names)
def test_scores_are_symmetric_in_prediction_and_observation(seed, name):
    y, yhat, y0, genes = _screen(seed)
    there = _values(name, y, yhat, y0, genes)
    assert _values(name, yhat, y, y0, genes) == pytest.approx(there, abs=1e-12)


@fast
@given(seeds, names, st.integers(0, 39), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_on_the_panel_never_gives_a_number(seed, name, gene, broken_value):
    y, yhat, y0, genes = _screen(seed)
    label = next(iter(y))
    broken = {**yhat, label: np.where(np.arange(40) == gene, broken_value, yhat[label])}
    whole, partial = _values(name, y, yhat, y0, genes), _values(name, y, broken, y0, genes)
    assert np.isnan(partial.pop(label))
    assert partial == {other: whole[other] for other in partial}


@fast
@given(seeds, names)
def test_nan_off_the_panel_changes_nothing(seed, name):
    y, yhat, y0, genes = _screen(seed)
    worst = np.argmin(y0)
    broken = {label: np.where(np.arange(40) == worst, np.nan, row) for label, row in yhat.items()}
    assert _values(name, y, broken, y0, genes, n_top=39) == _values(name, y, yhat, y0, genes, n_top=39)


@fast
@given(seeds, st.floats(0.1, 10), st.floats(-3, 3))
def test_pearson_ignores_scale_and_shift_of_the_prediction(seed, scale, shift):
    y, yhat, y0, genes = _screen(seed)
    stretched = {label: scale * row + shift for label, row in yhat.items()}
    assert _values("pearson", y, stretched, y0, genes) == pytest.approx(
        _values("pearson", y, yhat, y0, genes), abs=1e-9
    )
