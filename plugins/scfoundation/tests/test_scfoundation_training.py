"""Training beside a plain loop, resuming, and what a prediction depends on."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from pertharness import CONTROL, Skip

torch = pytest.importorskip("torch", reason="torch is not installed: the plugin has its own environment")

from pertharness_scfoundation import predict, training  # noqa: E402
from pertharness_scfoundation.cells import match_columns, read_cells  # noqa: E402
from pertharness_scfoundation.head import perturbed_in  # noqa: E402
from pertharness_scfoundation.loss import perturbation_loss  # noqa: E402
from pertharness_scfoundation.pairs import changed_genes, moments, pair_cells  # noqa: E402
from pertharness_scfoundation.training import make_head  # noqa: E402


def means_of(fitted, posed, queries=None, seed=1):
    prediction = predict(model=fitted, controls=posed.controls, queries=queries or posed.queries, seed=seed)
    return dict(zip(prediction.obs["perturbation"], prediction.X, strict=True))


def difference(first, second):
    assert first.keys() == second.keys()
    return max(np.abs(first[query] - second[query]).max() for query in first)


@pytest.mark.parametrize("accumulation", ["sum", "mean"])
def test_training_is_that_of_a_plain_loop(posed, tiny, run_fit, accumulation):
    """Pairs drawn with numpy, batches shuffled with torch, gradients clipped after each batch and stepped every 5th."""
    params = tiny | {"epochs": 1, "accumulation": accumulation}
    fitted = run_fit(posed, params, val=False, seed=3)
    cells = read_cells(posed.train, match_columns(posed.train, fitted.columns.genes, None))
    labels = list(cells.labels)
    controls = cells.take(np.flatnonzero(cells.labels == CONTROL))
    rng, partner = np.random.RandomState(3), {}
    for label in dict.fromkeys(labels):
        for row in np.flatnonzero(cells.labels == label) if label != CONTROL else []:
            partner[row] = int(rng.randint(0, len(controls.labels), 1)[0])
    control_mean = torch.from_numpy(controls.expression.toarray().mean(axis=0))
    expressed = {
        label: torch.from_numpy(np.flatnonzero(cells.expression.toarray()[cells.labels == label].mean(axis=0)))
        for label in labels
    }
    head = make_head(fitted.embedder, fitted.graphs, fitted.settings.choices(), 0).train()
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01, weight_decay=5e-4)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
    for step in range(len(labels) // 6):
        rows = order[6 * step : 6 * step + 6]
        inputs = [cells.take(np.array([row])) if row not in partner else controls.take(np.array([partner[row]]))
                  for row in rows]  # fmt: skip
        x = np.vstack([cell.expression.toarray() for cell in inputs])
        batch = replace(inputs[0], totals=np.concatenate([cell.totals for cell in inputs]), expression=type(
            inputs[0].expression)(x))  # fmt: skip
        targets = [[fitted.vocabulary[gene] for gene in labels[row].split("+")] if row in partner else []
                   for row in rows]  # fmt: skip
        predicted = head(fitted.embedder.embed(batch), torch.from_numpy(x), perturbed_in(targets))
        observed = torch.from_numpy(cells.expression[rows].toarray())
        names = [labels[row] for row in rows]
        loss = perturbation_loss(predicted, observed, control_mean, names, expressed, 0.1)
        (loss / 5 if accumulation == "mean" else loss).backward()
        torch.nn.utils.clip_grad_value_(head.parameters(), 1.0)
        if step % 5 == 4:
            optimiser.step()
            optimiser.zero_grad()
    state = fitted.head.state_dict()
    for key, value in head.state_dict().items():
        torch.testing.assert_close(state[key], value, atol=1e-5, rtol=1e-5, msg=lambda text, key=key: f"{key}: {text}")


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(posed, tiny, run_fit, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    params = tiny | {"epochs": 2}
    expected = run_fit(posed, params, folder=whole)
    validate = training.validation_error
    calls = []

    def killed(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(training, "validation_error", killed)
        with pytest.raises(KeyboardInterrupt):
            run_fit(posed, params, folder=parts)
    resumed = run_fit(posed, params, folder=parts)
    for key, value in expected.head.state_dict().items():
        assert torch.equal(resumed.head.state_dict()[key], value), key
    assert difference(means_of(expected, posed), means_of(resumed, posed)) == 0


def test_the_pretrained_network_is_not_trained(posed, tiny, run_fit):
    from pertharness_foundation.checkpoint import read_state_dict

    fitted = run_fit(posed, tiny)
    published = read_state_dict(Path(tiny["checkpoint"]), at=("gene", "state_dict"), prefix="model.")
    state = fitted.embedder.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in published.items())
    assert not any(parameter.requires_grad for parameter in fitted.embedder.network.parameters())
    assert f"weights: {len(published)} tensors loaded, 0 ignored, 0 fresh" in fitted.notes


def test_without_validation_the_last_epoch_is_kept_and_the_record_says_so(posed, tiny, run_fit):
    fitted = run_fit(posed, tiny, val=False)
    assert "there are no validation cells: the weights of the last epoch are kept" in fitted.notes


def test_the_published_start_does_not_depend_on_the_training_seed(posed, tiny, run_fit):
    heads = {}
    for seed, chosen in ((1, None), (2, None), (1, "run"), (2, "run")):
        fitted = run_fit(posed, tiny | {"network_seed": chosen})
        start = 0 if chosen is None else seed
        heads[seed, chosen] = make_head(fitted.embedder, fitted.graphs, fitted.settings.choices(), start)
    weights = {key: head.indv_w1 for key, head in heads.items()}
    assert torch.equal(weights[1, None], weights[2, None])
    assert not torch.equal(weights[1, "run"], weights[2, "run"])


def test_pairs_are_drawn_once_in_the_order_of_first_appearance():
    labels = np.array(["B", "control", "A", "B", "A"], dtype=object)
    drawn = pair_cells(labels, 100, np.random.RandomState(0))
    expected = np.random.RandomState(0)
    b, a = expected.randint(0, 100, 2), expected.randint(0, 100, 2)
    assert drawn.tolist() == [b[0], -1, a[0], b[1], a[1]]


def test_the_genes_that_validate_have_the_largest_t(posed, tiny):
    from scipy import stats

    columns = match_columns(posed.train, [str(gene) for gene in posed.train.var_names], None)
    cells = read_cells(posed.train, columns)
    rows = {label: np.flatnonzero(cells.labels == label) for label in (CONTROL, "KLF1")}
    dense = cells.expression.toarray().astype(np.float64)
    expected = np.abs(stats.ttest_ind(dense[rows["KLF1"]], dense[rows[CONTROL]], equal_var=False).statistic)
    of_controls = (*moments(cells.expression, rows[CONTROL]), len(rows[CONTROL]))
    genes = changed_genes(cells.expression, rows["KLF1"], of_controls)
    assert genes.tolist() == np.argsort(-expected)[:20].tolist()


def test_a_published_prediction_depends_on_the_batches_and_a_corrected_one_does_not(posed, tiny, run_fit):
    means = {}
    for procedure in ("paper", "corrected"):
        fitted = run_fit(posed, tiny | {"procedure": procedure})
        for size in (5, 4):
            predicting = fitted.settings.predicting.model_copy(update={"predict_batch_size": size})
            other = replace(fitted, settings=fitted.settings.model_copy(update={"predicting": predicting}))
            means[procedure, size] = means_of(other, posed)
    assert difference(means["paper", 5], means["paper", 4]) > 1e-5
    assert difference(means["corrected", 5], means["corrected", 4]) < 1e-5


@pytest.mark.parametrize(
    ("quirk", "value"), [("propagation", "all"), ("key_maximum", "constant"), ("key_maximum", "cell"),
                         ("accumulation", "mean"), ("network_seed", "run"), ("control_draws", "shared")],
)  # fmt: skip
def test_each_quirk_can_be_undone_alone(posed, tiny, run_fit, quirk, value):
    fitted = run_fit(posed, tiny | {quirk: value})
    choices = fitted.settings.choices()
    assert getattr(choices, quirk) == value
    published = run_fit(posed, tiny)
    assert choices == replace(published.settings.choices(), **{quirk: value})
    assert difference(means_of(published, posed), means_of(fitted, posed)) > 1e-6


def test_a_prediction_is_the_mean_over_drawn_controls_in_small_batches(posed, tiny, run_fit):
    fitted = run_fit(posed, tiny)
    query = posed.queries[0]
    cells = read_cells(posed.controls, fitted.columns)
    rows = np.random.default_rng([1, *query.encode()]).integers(0, len(cells.totals), 12)
    genes = [fitted.vocabulary[gene] for gene in query.split("+")]
    outputs = []
    for start in (0, 5, 10):
        batch = cells.take(rows[start : start + 5])
        batch = replace(batch, totals=np.trunc(batch.totals))
        perturbed = perturbed_in([genes] * len(batch.totals))
        with torch.no_grad():
            outputs.append(fitted.head(fitted.embedder.embed(batch), torch.from_numpy(batch.expression.toarray()),
                                       perturbed).numpy())  # fmt: skip
    assert [len(output) for output in outputs] == [5, 5, 2]
    expected = np.vstack(outputs).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(means_of(fitted, posed)[query], expected, atol=1e-6)


def test_a_batch_that_does_not_fit_is_a_skip_where_its_size_matters_and_halved_where_not(posed, tiny, run_fit):
    def limited(fitted, most):
        class Embedder(type(fitted.embedder)):
            def embed(self, cells):
                if len(cells.totals) > most:
                    raise MemoryError("a device without memory")
                return super().embed(cells)

        embedder = Embedder(*(getattr(fitted.embedder, field.name) for field in fields(fitted.embedder)))
        return replace(fitted, embedder=embedder)

    with pytest.raises(Skip, match=r"a batch of 5 cells does not fit.*the procedure depends on the size"):
        means_of(limited(run_fit(posed, tiny), 3), posed)
    corrected = run_fit(posed, tiny | {"procedure": "corrected"})
    assert difference(means_of(limited(corrected, 3), posed), means_of(corrected, posed)) < 1e-5


def test_answers_do_not_depend_on_the_other_queries(posed, tiny, run_fit):
    for procedure in ("paper", "corrected"):
        fitted = run_fit(posed, tiny | {"procedure": procedure})
        together = means_of(fitted, posed)
        alone = means_of(fitted, posed, [posed.queries[1]])
        np.testing.assert_allclose(alone[posed.queries[1]], together[posed.queries[1]], atol=1e-7)


def test_the_benchmark_computes_what_the_plain_form_does():
    script = Path(__file__).parents[3] / "benchmarks" / "scfoundation.py"
    command = [sys.executable, str(script), "--small", "--seconds", "0.1", "--check"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = {line["what"]: line for line in map(json.loads, printed.splitlines())}
    assert figures["gene embeddings"]["largest_difference"] < 1e-5
    assert figures["controls of a prediction"]["ratio_to_own_controls"] > 0
    assert {"tokenising", "graph of shared terms", "graph of co-expression", "training"} <= figures.keys()
