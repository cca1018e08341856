"""The scorer of interactions on a small screen: what it gives, and what it makes of bad input."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness import COLUMNS, CONTROL, DataError, Skip
from pertharness.worker.score_checks import check_scores
from pertharness_scorers.detection import VARIANTS, detect
from pertharness_scorers.interaction_offer import OFFER
from pertharness_scorers.interaction_scorer import score_interactions
from pertharness_scorers.interactions import Call, Thresholds
from pertharness_scorers.locfdr import locfdr

N_GENES, N_SINGLES = 60, 8
AREAS = ["auprc", "auroc", "average_precision"]
OF_MODEL = ("top500_class", "top100_recurrence")


def _means(rows, genes):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=[f"row{i}" for i in range(len(rows))])
    x = np.array(list(rows.values()), dtype=float).reshape(len(rows), len(genes))
    return AnnData(X=x, obs=obs, var=pd.DataFrame(index=list(genes)))


def _screen(seed=3):
    """28 doubles of 8 singles; 1 of 12 entries of a double is off the additive expectation by about 1."""
    rng = np.random.default_rng(seed)
    genes = [f"g{i:02d}" for i in range(N_GENES)]
    y0 = rng.uniform(1, 4, N_GENES)
    effects = {f"P{i}": rng.normal(0, 0.3, N_GENES) for i in range(N_SINGLES)}
    rows = {CONTROL: y0, **{name: y0 + effect for name, effect in effects.items()}}
    for a, b in [(a, b) for a in effects for b in effects if a < b]:
        odd = rng.random(N_GENES) < 1 / 12
        deviation = rng.normal(0, 0.05, N_GENES) + odd * rng.normal(0, 1, N_GENES)
        rows[f"{a}+{b}"] = y0 + effects[a] + effects[b] + deviation
    return _means(rows, genes)


SCREEN = _screen()
HELD = [label for label in SCREEN.obs["perturbation"] if "+" in label][::2]


def _additive(screen=SCREEN, held=HELD):
    row = dict(zip(screen.obs["perturbation"], screen.X, strict=True))
    return {label: row[label[:2]] + row[label[3:]] - row[CONTROL] for label in held}


def _noisy(noise=0.2, screen=SCREEN, held=HELD):
    rng = np.random.default_rng(4)
    row = dict(zip(screen.obs["perturbation"], screen.X, strict=True))
    return {label: row[label] + rng.normal(0, noise, screen.n_vars) for label in held}


def _score(yhat, screen=SCREEN, held=HELD, **params):
    labels = screen.obs["perturbation"]
    scores = score_interactions(
        truth=screen[labels.isin(held).to_numpy()], prediction=_means(yhat, screen.var_names),
        controls=screen[(labels == CONTROL).to_numpy()], train=screen[(~labels.isin(held)).to_numpy()],
        screen=screen, params=params,
    )  # fmt: skip
    check_scores(scores, OFFER, list(held), "scorers")
    assert set(scores.artefacts) == {table.name for table in OFFER.tables}
    return scores


def _values(scores, metric):
    table = scores.table[scores.table["metric"] == metric]
    return dict(zip(table["variant"], table["value"], strict=True))


def test_table_has_a_row_per_variant_and_a_curve_of_101_points():
    table = _score(_noisy()).table
    assert tuple(table.columns) == COLUMNS
    counts = table.groupby(["metric", "variant"]).size()
    assert set(counts["tpr_fdp"]) == {101}
    assert set(counts[AREAS]) == {1}
    assert set(counts.index.get_level_values("metric")) == {"tpr_fdp", *AREAS}
    assert set(counts["auprc"].index) == set(VARIANTS)
    assert set(table["perturbation"]) == set(table["gene"]) == {""}
    curve = table[(table["metric"] == "tpr_fdp") & (table["variant"] == "default")]
    assert [f"{x:g}" for x in curve["coordinate"]] == [f"{i / 100:g}" for i in range(101)]


def test_truth_as_prediction_finds_every_interaction():
    scores = _score(_noisy(0.0))
    for metric in ("auroc", "average_precision"):
        assert _values(scores, metric)["abs-u"] == pytest.approx(1)
    # By size alone, entries between the two thresholds' sizes are out of order: not more than nearly 1.
    assert _values(scores, "auroc")["default"] > 0.99


def test_call_and_composition_count_the_same_entries():
    tables = _score(_noisy()).artefacts
    call, shares, entries = (tables[name] for name in ("interaction_call", "class_composition", "interaction_class"))
    assert call["threshold"].tolist() == ["local", "tail"]
    assert call["n_values"].tolist() == [28 * N_GENES] * 2
    assert (call["lower"] < 0).all()
    assert (call["upper"] > 0).all()
    for row in call.itertuples():
        mine = shares[shares["threshold"] == row.threshold].set_index("class")
        listed = entries[entries["threshold"] == row.threshold]
        assert mine["count"].sum() == row.n_values
        assert mine["share"].sum() == pytest.approx(1)
        assert mine["count"].drop("additive").sum() == row.n_above + row.n_below == len(listed)
        assert listed["class"].value_counts().to_dict() == {
            k: n for k, n in mine["count"].drop("additive").items() if n
        }
        assert ((listed["deviation"] > row.upper) | (listed["deviation"] < row.lower)).all()


def test_called_entries_are_those_of_the_screen():
    entries = _score(_noisy()).artefacts["interaction_class"]
    means = SCREEN.to_df().set_index(SCREEN.obs["perturbation"].to_numpy())
    for row in entries.head(10).itertuples():
        a, b = row.perturbation.split("+")
        y, y_a, y_b, y0 = (means.loc[label, row.gene] for label in (row.perturbation, a, b, CONTROL))
        assert row.additive == pytest.approx(y_a + y_b - 2 * y0)
        assert row.deviation == pytest.approx(y - (y_a + y_b - y0))


def test_largest_entries_have_the_classes_of_prediction_and_observation():
    yhat = _noisy()
    scores = _score(yhat)
    largest = scores.artefacts["top500_class"]
    sizes = np.sort(np.abs(np.array(list(yhat.values())) - np.array(list(_additive().values()))).ravel())[::-1]
    assert np.abs(largest["predicted"].to_numpy()) == pytest.approx(sizes[:500])
    entries = scores.artefacts["interaction_class"]
    entries = entries[entries["threshold"] == "local"].set_index(["perturbation", "gene"])["class"].to_dict()
    for row in largest.itertuples():
        assert row.observed_class == entries.get((row.perturbation, row.gene), "additive")
        assert row.predicted_class != "additive"


def test_recurrence_counts_the_largest_of_prediction_and_truth():
    table = _score(_noisy()).artefacts["top100_recurrence"]
    groups = table.groupby(["variant", "of", "kind"])
    sums = groups["n"].sum()
    assert set(sums) == {100}
    for _, rows in groups:
        highlighted = rows[rows["highlighted"]]
        assert len(highlighted) == 4
        assert highlighted["n"].min() >= rows.loc[~rows["highlighted"], "n"].max()
    kinds = ["gene", "perturbation"]
    assert list(sums.index) == list(product(["default", "published-code"], ["prediction", "truth"], kinds))


def _check_no_competition(scores):
    assert scores.table.empty
    assert tuple(scores.table.columns) == COLUMNS
    assert all(scores.artefacts[name].empty for name in OF_MODEL)
    assert not scores.artefacts["interaction_call"].empty


def test_additive_does_not_compete_even_after_float32():
    _check_no_competition(_score(_additive()))
    _check_no_competition(_score({label: row.astype(np.float32) for label, row in _additive().items()}))


def test_no_answer_at_all_does_not_compete():
    _check_no_competition(_score({}))


def test_no_change_never_predicts_an_opposite_effect():
    y0 = SCREEN.X[0].astype(np.float32)
    classes = set(_score(dict.fromkeys(HELD, y0)).artefacts["top500_class"]["predicted_class"])
    assert classes <= {"buffering", "other"}


def test_constant_prediction_is_scored():
    table = _score(dict.fromkeys(HELD, np.full(N_GENES, 2.0))).table
    assert np.isfinite(table["value"]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_answer_is_as_none(bad):
    yhat = _noisy()
    broken = {**yhat, HELD[1]: np.where(np.arange(N_GENES) == 5, bad, yhat[HELD[1]])}
    left = {label: row for label, row in yhat.items() if label != HELD[1]}
    pd.testing.assert_frame_equal(_score(broken).table, _score(left).table)


def test_missing_genes_have_the_mean_of_training():
    yhat, labels = _noisy(), SCREEN.obs["perturbation"]
    train = SCREEN[(~labels.isin([CONTROL, *HELD])).to_numpy()]
    missing = np.arange(N_GENES) % 3 == 0
    without = {label: np.where(missing, np.nan, row) for label, row in yhat.items()}
    filled = {label: np.where(missing, train.X.mean(axis=0), row) for label, row in yhat.items()}
    pd.testing.assert_frame_equal(_score(without).table, _score(filled).table)


def test_one_held_out_double_is_enough():
    assert len(_score(_noisy(held=HELD[:1]), held=HELD[:1]).table) == 4 * 104


def test_doubles_that_lack_a_single_are_left_out_and_counted():
    screen = SCREEN[(SCREEN.obs["perturbation"] != "P7").to_numpy()]
    scores = _score(_noisy(), screen=screen)
    assert set(scores.artefacts["interaction_call"]["n_doubles"]) == {21}
    assert set(scores.artefacts["interaction_call"]["n_left_out"]) == {7}
    kept = {label: row for label, row in _noisy().items() if "P7" not in label}
    pd.testing.assert_frame_equal(scores.table, _score(kept, screen=screen).table)


def test_screen_without_doubles_is_skipped():
    singles = SCREEN[(~SCREEN.obs["perturbation"].str.contains("+", regex=False)).to_numpy()]
    with pytest.raises(Skip, match="no double both of whose singles it holds"):
        _score({}, screen=singles, held=[])


def test_too_few_values_for_a_null_are_skipped():
    with pytest.raises(Skip, match="holds: 28 of 28; 28 x 10 entries are too few for thresholds, at least 500 are"):
        _score(_noisy(), n_top=10)


def test_deviations_without_a_null_are_skipped():
    flat = SCREEN.copy()
    rows = [i for i, label in enumerate(flat.obs["perturbation"]) if "+" in label]
    every = [label for label in flat.obs["perturbation"] if "+" in label]
    flat.X[rows] = np.array(list(_additive(held=every).values()))
    with pytest.raises(Skip, match="no thresholds for the deviations from additivity") as caught:
        _score(_noisy(), screen=flat)
    # Nobody can tell the scorer to leave out entries, or another number of bins.
    assert not re.search("leave out|pct|raise bins|locfdr", str(caught.value))


def test_tie_at_the_edge_of_the_panel_goes_to_the_first_gene():
    tied = SCREEN.copy()
    control = np.sort(tied.X[0])[::-1]
    tied.X[0] = np.where(np.arange(N_GENES) < 30, control[0], control[-1])
    tables = _score(_noisy(), screen=tied, n_top=31).artefacts
    # 30 genes are above all others, of which the first in data order is the 31st.
    assert set(tables["interaction_call"]["n_genes"]) == {31}
    assert set(tables["interaction_class"]["gene"]) <= {f"g{i:02d}" for i in range(31)}


def test_screen_without_a_tail_has_no_tail_threshold_and_says_that_the_local_one_is_far():
    rows = dict(zip(SCREEN.obs["perturbation"], SCREEN.X, strict=True))
    rng, doubles = np.random.default_rng(8), [label for label in rows if "+" in label]
    # Uniform noise: fewer large deviations than any null has.
    flat = {label: row + rng.uniform(-0.1, 0.1, N_GENES) for label, row in _additive(held=doubles).items()}
    scores = _score(_noisy(), screen=_means({**rows, **flat}, SCREEN.var_names))
    local, tail = (scores.artefacts["interaction_call"].iloc[i] for i in (0, 1))
    assert not local["upper_near"]
    assert not local["lower_near"]
    assert np.isnan([tail["upper"], tail["lower"]]).all()
    assert (tail["n_above"], tail["n_below"]) == (0, 0)
    for metric in AREAS:
        assert np.isnan(_values(scores, metric)["tail"])


def test_the_call_has_where_its_fdr_falls_to_a_fifth():
    doubles = [label for label in SCREEN.obs["perturbation"] if "+" in label]
    row_of = dict(zip(SCREEN.obs["perturbation"], SCREEN.X, strict=True))
    additive = _additive(held=doubles)
    null = locfdr(np.concatenate([row_of[label] - additive[label] for label in doubles]))
    row = _score(_noisy()).artefacts["interaction_call"].iloc[0]
    np.testing.assert_allclose([row["z2_lower"], row["z2_upper"]], null.z2)
    assert row["lower"] < row["z2_lower"] < row["delta"] < row["z2_upper"] < row["upper"]  # fdr is 0.05 further out


def test_stacking_counts_every_copy():
    single, stacked = (_score(_noisy(), stack=n).artefacts["interaction_call"].iloc[0] for n in (1, 3))
    assert stacked["n_values"] == 3 * single["n_values"]


@pytest.mark.parametrize("param", [{"n_top": 0}, {"stack": 0}, {"level": 1.0}])
def test_parameter_out_of_its_range_is_refused(param):
    with pytest.raises(DataError, match=next(iter(param))):
        _score(_noisy(), **param)


def test_split_without_interactions_is_undefined():
    nowhere = Thresholds(np.nan, np.nan, np.nan, np.nan, 0, 0, False, False)
    call = Call({"local": nowhere, "tail": nowhere}, 0.0, 1.0, 1.0, (np.nan, np.nan), 500, np.ones(500), ())
    found = detect(np.array([0.1, -0.2, 0.0]), np.array([0.1, 0.2, 0.3]), call)
    assert all(np.isnan(value).all() for values in found.values() for value in values.values())


fast = settings(max_examples=10, deadline=None)


@fast
@given(st.integers(0, 1000))
def test_order_of_answers_and_genes_has_no_say(seed):
    rng = np.random.default_rng(seed)
    # Rounded, so that there are ties; the published way alone depends on the order of the genes.
    yhat = {label: row.round(1) for label, row in _noisy().items()}
    genes = rng.permutation(N_GENES)
    there = _score({label: yhat[label][genes] for label in rng.permutation(HELD)}, screen=SCREEN[:, genes])
    here = _score(yhat)
    mine = [scores.table[scores.table["variant"] != "published-code"] for scores in (here, there)]
    np.testing.assert_allclose(mine[0]["value"], mine[1]["value"], rtol=0, atol=1e-9)


@fast
@given(st.integers(0, 1000))
def test_sign_of_all_deviations_has_no_say(seed):
    rng = np.random.default_rng(seed)
    predicted, observed = rng.normal(size=50).round(1), rng.normal(size=50)
    there, here = (detect(sign * predicted, sign * observed, _symmetric_call())["auroc"] for sign in (1, -1))
    for variant in ("default", "tail", "abs-u"):
        assert here[variant] == pytest.approx(there[variant])


def _symmetric_call():
    thresholds = Thresholds(0.5, -0.5, 0.05, 0.05, 1, 1, True, True)
    return Call({"local": thresholds, "tail": thresholds}, 0.0, 1.0, 1.0, (np.nan, np.nan), 500, np.ones(500), ())


def test_the_card_names_the_variants_that_there_are() -> None:
    assert all(metric.variants == tuple(VARIANTS) for metric in OFFER.metrics)
