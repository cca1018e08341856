"""The interaction analysis beside the output of the authors' R code; siblings: test_interactions, test_curves."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import CONTROL, join_targets
from pertharness_scorers.curves import auprc, auprc_published, auroc, average_precision, count, rank, tpr_fdp
from pertharness_scorers.detection import above_upper, as_large_as_upper, called
from pertharness_scorers.deviations import observe_doubles, without_rounding
from pertharness_scorers.interaction_scorer import score_interactions
from pertharness_scorers.interactions import CLASSES, call_interactions, classify, is_called
from pertharness_scorers.locfdr import locfdr
from pertharness_scorers.panel import top_genes
from pertharness_scorers.recurrence import largest, lump, recurrence

REFERENCE = Path(os.environ.get("PERTHARNESS_SHARED", Path(__file__).parents[4] / "shared")) / "reference"
RULES = {"signed_rmd": above_upper, "abs_thresholds": called, "abs_u": as_large_as_upper}
STACKED = {"single": 1, "stacked": 2}
TRUTH = "ground_truth"
pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def files():
    if not (REFERENCE / "pipeline_refs.npz").exists():
        pytest.skip(f"no pipeline_refs.npz in {REFERENCE}; name the folder above it in PERTHARNESS_SHARED")
    with np.load(REFERENCE / "pipeline_inputs.npz") as inputs, np.load(REFERENCE / "pipeline_refs.npz") as refs:
        arrays = dict(inputs), dict(refs)
    words = [json.loads((REFERENCE / f"pipeline_{name}.json").read_text()) for name in ("inputs", "refs")]
    return *arrays, *words


def _canonical(condition):
    return join_targets(part for part in str(condition).split("+") if part != "ctrl")


def _doubles(inputs, words):
    labels = [_canonical(condition) for condition in inputs["conditions"]]
    y0 = inputs["X"][labels.index(CONTROL)]
    panel = top_genes(y0, words["n_top"])
    return observe_doubles(labels, inputs["X"][:, panel], y0[panel])


def _entries(refs, seed, method):
    """y - A and yhat - A of one split, in R's row order."""
    rows = refs["inter_pred_seed"] == seed
    observed = refs["inter_pred_obs_minus_add"][rows]
    return observed, observed if method == TRUTH else refs[f"inter_pred_{method}"][rows]


def _close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


# Pure functions, at R's own thresholds: no optimiser is involved.


def test_deviations_equal_r(files):
    inputs, refs, words, _ = files
    doubles = _doubles(inputs, words)
    assert list(doubles.labels) == [_canonical(label) for label in refs["doubles"]]
    _close(doubles.deviation, refs["interaction_error"])


@pytest.mark.parametrize("kind", STACKED)
def test_classes_and_counts_equal_r(files, kind):
    inputs, refs, words, more = files
    doubles, thresholds = _doubles(inputs, words), more[f"locfdr.{kind}"]
    outside = is_called(doubles.deviation, thresholds["lower"], thresholds["upper"])
    found = classify(doubles.effect, doubles.first, doubles.second)
    names = np.array(CLASSES)[np.where(outside, found, 0)]
    assert names.tolist() == refs[f"interaction_cls_{kind}"].tolist()
    assert dict(Counter(names.ravel().tolist())) == more[f"count_cls_{kind}"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", STACKED)
def test_curves_and_areas_equal_r_ties_included(files, kind, rule):
    _, refs, _, more = files
    thresholds, name = more[f"locfdr.{kind}"], f"{kind}_{rule}"
    for i, method in enumerate(refs["models"]):
        for j, seed in enumerate(np.unique(refs["inter_pred_seed"])):
            observed, predicted = _entries(refs, seed, method)
            scores = predicted if rule == "signed_rmd" else np.abs(predicted)
            masks = RULES[rule](observed, thresholds["lower"], thresholds["upper"])
            counts = count(rank(scores, ties="row"), *masks)
            _close(tpr_fdp(counts), refs[f"curve_{name}"][i, j])
            _close(auprc_published(counts), refs[f"auprc_{name}"][i, j])
            _close(auroc(counts), refs[f"auc_{name}"][i, j])
            _close(auprc(counts), refs[f"auprc_rankorder_{name}"][i, j])
            _close(average_precision(counts), refs[f"ap_{name}"][i, j])


def _tidy(refs, prefix):
    columns = {name.split(".")[1]: refs[name] for name in refs if name.startswith(f"{prefix}.")}
    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def _names(refs, seed, column):
    return refs[f"inter_pred_{column}"][refs["inter_pred_seed"] == seed]


@pytest.mark.parametrize(("table", "size"), [("top100_signed", lambda x: x), ("top100_abs", np.abs)])
def test_largest_entries_equal_r(files, table, size):
    _, refs, _, _ = files
    for (method, seed), rows in _tidy(refs, table).groupby(["method", "seed"], sort=False):
        _, predicted = _entries(refs, seed, method)
        entries = largest(size(predicted), len(rows))
        for column in ("perturbation", "gene_name"):
            assert _names(refs, seed, column)[entries].tolist() == rows[column].tolist()
        _close(predicted[entries], rows["pred_minus_add"])


@pytest.mark.parametrize(("table", "column"), [("top_gene_rmd", "gene_name"), ("top_pert_rmd", "perturbation")])
def test_recurrence_equals_r(files, table, column):
    _, refs, _, _ = files
    expected = _tidy(refs, table)
    top = {
        (method, seed): _names(refs, seed, column)[largest(_entries(refs, seed, method)[1], 100)].tolist()
        for method, seed in expected[["method", "seed"]].drop_duplicates().itertuples(index=False)
    }
    # The authors highlight the six commonest of all models and splits, the truth among them.
    kept = [name for name, _ in recurrence(name for names in top.values() for name in names)][:6]
    for (method, seed), rows in expected.groupby(["method", "seed"]):
        assert lump(top[method, seed], kept) == list(zip(rows[column], rows["n"], strict=True))


def test_classes_of_the_largest_equal_r(files):
    inputs, refs, words, more = files
    thresholds, doubles = more["locfdr.single"], _doubles(inputs, words)
    column_of = {gene: i for i, gene in enumerate(refs["top_genes"])}
    row_of = {label: i for i, label in enumerate(doubles.labels)}
    for method, rows in _tidy(refs, "top200_class").groupby("method"):
        predicted, observed = refs[f"inter_pred_{method}"], refs["inter_pred_obs_minus_add"]
        entries = largest(np.abs(predicted), len(rows))
        labels, genes = refs["inter_pred_perturbation"][entries], refs["inter_pred_gene_name"][entries]
        assert labels.tolist() == rows["perturbation"].tolist()
        assert genes.tolist() == rows["gene_name"].tolist()
        place = [row_of[_canonical(label)] for label in labels], [column_of[gene] for gene in genes]
        first, second = doubles.first[place], doubles.second[place]
        effects = [without_rounding(first + second + by[entries]) for by in (predicted, observed)]
        kinds = [classify(effect, first, second) for effect in effects]
        outside = is_called(observed[entries], thresholds["lower"], thresholds["upper"])
        kinds[1] = np.where(outside, kinds[1], 0)
        for found, expected in zip(kinds, ("pred_cls", "obs_cls"), strict=True):
            assert np.array(CLASSES)[found].tolist() == rows[expected].tolist()


def _labels_of(areas):
    """The legend of the published figure: mean and standard error over the splits, best first."""
    means = {method: (np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5) for method, values in areas.items()}
    best = sorted(means, key=lambda method: -means[method][0])
    return {m: f"{m} (${round(means[m][0], 2):g}\\pm{round(means[m][1], 2):g}$)" for m in best}


@pytest.mark.parametrize("kind", STACKED)
def test_means_and_errors_over_splits_equal_those_of_the_figure(files, kind):
    _, refs, _, more = files
    thresholds, seeds = more[f"locfdr.{kind}"], np.unique(refs["inter_pred_seed"])
    for area, label in ((auprc_published, "auprc_labels"), (auroc, "auc_labels")):
        areas = {}
        for method in refs["models"]:
            areas[str(method)] = []
            for seed in seeds:
                observed, predicted = _entries(refs, seed, method)
                masks = above_upper(observed, thresholds["lower"], thresholds["upper"])
                areas[str(method)].append(area(count(rank(predicted, ties="row"), *masks)))
        assert _labels_of(areas) == thresholds[label]


# With thresholds of our own, through the scorer.


@pytest.mark.parametrize("kind", STACKED)
def test_call_equals_r(files, kind):
    inputs, refs, words, more = files
    deviation, expected = _doubles(inputs, words).deviation, more[f"locfdr.{kind}"]
    order = refs["interaction_roworder"]
    call = call_interactions(deviation.ravel()[order], stack=STACKED[kind])
    fdr = np.empty(deviation.size)
    fdr[order] = call.fdr[: deviation.size]
    np.testing.assert_allclose(fdr.reshape(deviation.shape), refs[f"interaction_fdr_{kind}"], rtol=0, atol=1e-6)
    local = call.thresholds["local"]
    assert (local.lower, local.upper) == (expected["lower"], expected["upper"])
    assert (call.n, local.n_above, local.n_below) == (expected["N"], expected["n_up"], expected["n_lo"])
    assert list(call.warnings) == expected["warnings"]
    maximum_likelihood = refs[f"locfdr.{kind}.fp0"][2]
    np.testing.assert_allclose([call.delta, call.sigma, call.p0], maximum_likelihood, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", STACKED)
def test_every_null_of_the_call_equals_r(files, kind):
    inputs, refs, words, _ = files
    values = _doubles(inputs, words).deviation.ravel()[refs["interaction_roworder"]]
    null = locfdr(np.tile(values, STACKED[kind]))
    found = {"fp0": null.fp0.to_numpy(), "z2": null.z2, "Efdr": list(null.efdr.values())}
    for name, numbers in found.items():
        expected = refs[f"locfdr.{kind}.{name}"]
        known = ~np.isnan(expected)  # R stops in some standard errors, which are NA then
        assert known.any()
        np.testing.assert_allclose(np.asarray(numbers)[known], expected[known], rtol=0, atol=1e-6, err_msg=name)


def _means(x, conditions, genes):
    obs = pd.DataFrame({"perturbation": [_canonical(c) for c in conditions]}, index=list(conditions))
    return AnnData(X=np.asarray(x, dtype=float), obs=obs, var=pd.DataFrame(index=genes))


def _score(files, seed, method, stack=1, **params):
    inputs, _, words, _ = files
    screen = _means(inputs["X"], inputs["conditions"], inputs["genes"])
    held = inputs[f"held_{seed}"]
    controls = screen[screen.obs["perturbation"] == CONTROL]
    yhat = inputs.get(f"pred_{seed}_{method}", np.repeat(controls.X, len(held), axis=0))
    # Predictions come in another order than they were asked for.
    prediction = _means(yhat[::-1], held[::-1], inputs["genes"])
    return score_interactions(
        truth=screen[list(held)], prediction=prediction, controls=controls, train=screen, screen=screen,
        params={"n_top": words["n_top"], "stack": stack, **params},
    )  # fmt: skip


def _value(scores, metric, variant="default"):
    table = scores.table
    return table.loc[(table["metric"] == metric) & (table["variant"] == variant), "value"].to_numpy()


@pytest.mark.parametrize("kind", STACKED)
def test_scores_equal_r(files, kind):
    _, refs, _, _ = files
    for i, method in enumerate(refs["models"]):
        for j, seed in enumerate(np.unique(refs["inter_pred_seed"])):
            scores = _score(files, seed, method, STACKED[kind])
            published = f"{kind}_signed_rmd"
            _close(_value(scores, "tpr_fdp", "published-code"), refs[f"curve_{published}"][i, j])
            _close(_value(scores, "auprc", "published-code"), refs[f"auprc_{published}"][i, j])
            _close(_value(scores, "auroc", "published-code"), refs[f"auc_{published}"][i, j])
            _close(_value(scores, "average_precision", "published-code"), refs[f"ap_{published}"][i, j])
            _, predicted = _entries(refs, seed, method)
            if len(np.unique(np.abs(predicted))) < len(predicted):
                continue  # where scores are tied, our blocks differ from R's order of rows
            for variant, name in (("default", f"{kind}_abs_thresholds"), ("abs-u", f"{kind}_abs_u")):
                _close(_value(scores, "tpr_fdp", variant), refs[f"curve_{name}"][i, j])
                _close(_value(scores, "auprc", variant), [refs[f"auprc_rankorder_{name}"][i, j]])
                _close(_value(scores, "auroc", variant), [refs[f"auc_{name}"][i, j]])
                _close(_value(scores, "average_precision", variant), [refs[f"ap_{name}"][i, j]])


def test_tables_of_a_model_equal_r(files):
    _, refs, _, _ = files
    for (method, seed), rows in _tidy(refs, "top100_signed").groupby(["method", "seed"]):
        of, model = ("truth", refs["models"][0]) if method == TRUTH else ("prediction", method)
        found = _score(files, seed, model).artefacts["top100_recurrence"]
        for variant, expected in (("published-code", rows), ("default", _of(refs, "top100_abs", method, seed))):
            for kind, column in (("gene", "gene_name"), ("perturbation", "perturbation")):
                mine = found[(found["variant"] == variant) & (found["of"] == of) & (found["kind"] == kind)]
                names = map(_canonical, expected[column]) if kind == "perturbation" else expected[column]
                assert dict(zip(mine["name"], mine["n"], strict=True)) == dict(Counter(names))


def _of(refs, table, method, seed):
    tidy = _tidy(refs, table)
    return tidy[(tidy["method"] == method) & (tidy["seed"] == seed)]


def test_largest_of_all_splits_are_those_of_r(files):
    _, refs, _, _ = files
    for method, rows in _tidy(refs, "top200_class").groupby("method"):
        pooled = pd.concat(
            _score(files, seed, method).artefacts["top500_class"].assign(seed=seed) for seed in np.unique(rows["seed"])
        )
        entries = largest(np.abs(pooled["predicted"].to_numpy()), len(rows))
        mine = pooled.iloc[entries]
        _close(np.sort(mine["predicted"]), np.sort(rows["pred_minus_add"]))
        columns = ["seed", "perturbation", "gene", "predicted_class", "observed_class"]
        ours = Counter(mine[columns].itertuples(index=False, name=None))
        theirs = rows.assign(perturbation=rows["perturbation"].map(_canonical))
        columns = ["seed", "perturbation", "gene_name", "pred_cls", "obs_cls"]
        assert ours == Counter(theirs[columns].itertuples(index=False, name=None))


def test_additive_has_no_curve(files):
    _, refs, _, _ = files
    for seed in np.unique(refs["inter_pred_seed"]):
        scores = _score(files, seed, "additive_model")
        assert scores.table.empty
        assert scores.artefacts["top500_class"].empty
        assert not scores.artefacts["interaction_call"].empty
