"""Noise floor, reliability and cell equivalents: by hand, and against cells that are drawn."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness import CONTROL, Skip, make_prediction
from pertharness_scorers import calibration
from pertharness_scorers.calibration import cell_equivalents, noise_floor, noise_of, score_calibration, spearman_brown

GENES = ["A", "B", "g3", "g4"]
Y0 = np.array([4.0, 3.0, 2.0, 1.0])


def means(rows, n_cells=None, genes=None, **layers):
    obs = pd.DataFrame({"perturbation": list(rows)}, index=list(rows))
    if n_cells is not None:
        obs["n_cells"] = n_cells
    x = np.array(list(rows.values()), dtype=float)
    var = pd.DataFrame(index=genes if genes is not None else GENES)
    return AnnData(X=x, obs=obs, var=var, layers={name: np.array(v, dtype=float) for name, v in layers.items()})


def score(truth, yhat, n_top=1000, y0=Y0):
    genes = list(truth.var_names)
    scores = score_calibration(
        truth=truth, prediction=make_prediction(yhat, genes), controls=means({CONTROL: y0}, genes=genes),
        train=means({CONTROL: y0, "T": y0}, genes=genes), screen=truth, params={"n_top": n_top},
    )  # fmt: skip
    values = scores.table.set_index("variant")["value"].to_dict()
    return values, scores.artefacts["noise"].set_index("perturbation")


def test_noise_floor_is_the_variance_over_the_number_of_cells_on_the_panel():
    truth = means({"X": [1, 2, 3, 4]}, [10], half_a=[[0, 0, 0, 0]], half_b=[[9, 9, 9, 9]], variance=[[1, 2, 3, 100]])
    # Panel of 3: (1 + 2 + 3) / 10; the halves are not looked at.
    _, noise = score(truth, {"X": Y0}, n_top=3)
    assert noise.loc["X", ["noise_floor", "source", "n_cells"]].tolist() == [0.6, "variance", 10]


@pytest.mark.parametrize("lacking", ["variance", "n_cells"])
def test_without_variance_or_number_the_floor_is_a_quarter_of_the_squared_difference_of_the_halves(lacking):
    truth = means({"X": [1, 2, 3, 4]}, [10], half_a=[[1, 2, 3, 4]], half_b=[[1, 4, 2, 9]], variance=[[1, 1, 1, 1]])
    if lacking == "variance":
        del truth.layers["variance"]
    else:
        del truth.obs["n_cells"]
    floor, source = noise_floor(truth, np.arange(4))
    # (0 + 4 + 1 + 25) / 4
    assert (floor.tolist(), source.tolist()) == ([7.5], ["halves"])


def test_spearman_brown_steps_a_correlation_of_halves_up_to_the_whole():
    # 2 * 0.5 / 1.5 = 2 / 3
    assert spearman_brown(np.array([0.5, 1.0, 0.0]))[[0, 1, 2]] == pytest.approx([2 / 3, 1.0, 0.0])
    assert np.isnan(spearman_brown(np.array([-1.0, np.nan]))).all()


def test_reliability_is_of_the_halves_and_of_their_change_from_control():
    # Over A, B, g3 the halves are (1, 2, 3) and (1, 3, 2): r = 0.5. Changes (-3, -1, 1) and (-3, 0, 0): centred
    # (-2, 0, 2) and (-2, 1, 1): r = 6 / sqrt(8 * 6).
    halves = {"half_a": [[1, 2, 3, 0], [4, 3, 2, 1]], "half_b": [[1, 3, 2, 9], [4, 3, 2, 1]]}
    table = noise_of(means({"X": Y0, CONTROL: Y0}, **halves), Y0, np.arange(3)).set_index("perturbation")
    r = 6 / np.sqrt(48)
    assert table.loc["X", "reliability_pearson"] == pytest.approx(2 / 3)
    assert table.loc["X", "reliability_pearson_delta"] == pytest.approx(2 * r / (1 + r))
    assert table.loc[CONTROL, "reliability_pearson"] == pytest.approx(1.0)
    assert np.isnan(table.loc[CONTROL, "reliability_pearson_delta"])
    assert pd.isna(table.loc["X", "n_cells"])


def test_cell_equivalents_by_hand():
    # S: 10 * 0.6 = 6 and 20 * 0.5 = 10. Own squared errors: 2.6 - 0.6 = 2 and 6.5 - 0.5 = 6. 16 / 8 = 2 cells.
    squares, floor, n = np.array([2.6, 6.5]), np.array([0.6, 0.5]), np.array([10.0, 20.0])
    assert cell_equivalents(squares, floor, n) == pytest.approx(2.0)
    # As a share of the measured cells: 1.1 / 8.
    assert cell_equivalents(squares, floor, np.ones(2)) == pytest.approx(1.1 / 8)
    # One of which nothing is known counts neither above nor below.
    more = [np.append(values, extra) for values, extra in ((squares, np.nan), (floor, 0.7), (n, 5.0))]
    assert cell_equivalents(*more) == pytest.approx(2.0)


def test_an_error_below_the_noise_has_no_cell_equivalents():
    assert np.isnan(cell_equivalents(np.array([0.5]), np.array([0.6]), np.array([10.0])))
    assert np.isnan(cell_equivalents(np.array([]), np.array([]), np.array([])))


def test_without_numbers_of_cells_only_the_share_is_known():
    truth = means({"X": [1, 2, 3, 4]}, half_a=[[1, 2, 3, 4]], half_b=[[1, 2, 3, 6]])
    values, _ = score(truth, {"X": [1.0, 2.0, 3.0, 7.0]})
    # Squared error 9, floor 4 / 4 = 1.
    assert np.isnan(values["default"])
    assert values["share"] == pytest.approx(1 / 8)


def test_a_truth_without_halves_is_skipped_with_what_to_do():
    with pytest.raises(Skip, match="--calibrate"):
        score(means({"X": Y0}), {"X": Y0})


def test_a_perturbation_that_was_not_answered_or_has_no_halves_does_not_count():
    nan = [np.nan] * 4
    truth = means(
        {"X": [1, 2, 3, 4], "Y": Y0, "Z": Y0}, [5, 5, 1], half_a=[[1, 2, 3, 4], Y0, nan],
        half_b=[[1, 2, 3, 6], Y0 + 1, nan], variance=[[1] * 4, [1] * 4, nan],
    )  # fmt: skip
    values, noise = score(truth, {"Z": Y0 + 1, "X": [1.0, 2.0, 3.0, 7.0]})
    # X alone: squared error 9, floor 4 / 5: S = 4, so 4 / 8.2 cells.
    assert values["default"] == pytest.approx(4 / 8.2)
    assert np.isnan(noise.loc["Z", "noise_floor"])
    assert noise.loc["Z", "source"] == ""


def drawn(rng, n_perturbations, n_genes, n_cells, m):
    """Return truths over n cells with their layers, and predictions that are means of m other cells."""
    mu = rng.uniform(0.5, 4, (n_perturbations, n_genes))
    sd = rng.uniform(0.2, 1.5, (n_perturbations, n_genes))
    cells = mu[:, None] + sd[:, None] * rng.normal(size=(n_perturbations, n_cells, n_genes))
    others = mu[:, None] + sd[:, None] * rng.normal(size=(n_perturbations, m, n_genes))
    half = n_cells // 2
    labels, genes = [f"P{i}" for i in range(n_perturbations)], [f"g{i}" for i in range(n_genes)]
    truth = means(
        dict(zip(labels, cells.mean(axis=1), strict=True)), [n_cells] * n_perturbations, genes,
        half_a=cells[:, :half].mean(axis=1), half_b=cells[:, half:].mean(axis=1), variance=cells.var(axis=1, ddof=1),
    )  # fmt: skip
    return truth, mu, sd, dict(zip(labels, others.mean(axis=1), strict=True))


def test_noise_floor_has_the_expectation_of_the_squared_error_of_the_mean():
    truth, mu, sd, _ = drawn(np.random.default_rng(1), 200, 50, 12, 1)
    expected = (sd**2).sum(axis=1).mean() / 12
    observed = ((truth.X - mu) ** 2).sum(axis=1).mean()
    by_variance = noise_floor(truth, np.arange(50))[0].mean()
    del truth.layers["variance"]
    by_halves = noise_floor(truth, np.arange(50))[0].mean()
    # 200 x 50 squares of normal numbers: a relative error of sqrt(2 / 10 000), 1.4 %, times about 1.5 for their spread.
    assert [by_variance, by_halves, observed] == pytest.approx([expected] * 3, rel=0.08)


@pytest.mark.parametrize("m", [3, 40])
def test_a_prediction_that_is_the_mean_of_m_other_cells_is_worth_m_cells(m):
    truth, *_, prediction = drawn(np.random.default_rng(2), 200, 50, 20, m)
    values, _ = score(truth, prediction, y0=np.linspace(5, 1, 50))
    assert values["default"] == pytest.approx(m, rel=0.1)
    assert values["share"] == pytest.approx(m / 20, rel=0.1)


def test_reliability_is_the_correlation_that_a_second_experiment_of_that_size_would_have():
    rng = np.random.default_rng(3)
    truth, mu, sd, _ = drawn(rng, 40, 400, 16, 1)
    mu, sd = mu * 0.1, sd  # noise of about the size of the signal
    first, second = (mu + sd / 4 * rng.normal(size=mu.shape) for _ in range(2))  # means of 16 cells
    a, b = (mu + sd / np.sqrt(8) * rng.normal(size=mu.shape) for _ in range(2))
    truth = means({f"P{i}": row for i, row in enumerate(first)}, genes=truth.var_names, half_a=a, half_b=b)
    table = noise_of(truth, np.zeros(400), np.arange(400))
    repeated = np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(first, second, strict=True)])
    assert table["reliability_pearson"].mean() == pytest.approx(repeated, abs=0.03)
    assert 0.05 < repeated < 0.6


def test_the_card_says_that_it_is_for_runs_that_calibrate():
    assert calibration.OFFER.calibrates
