"""The parts of locfdr beside worked numbers and independent implementations on small self-made data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertharness_scorers.locfdr import NoNull, locfdr
from pertharness_scorers.locfdr.density import count_bins, fit_density, natural_basis
from pertharness_scorers.locfdr.table import level_crossings, non_null_distribution
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.stats import norm

NULLS = ("mle", "theoretical", "central_matching", "split")


def mixture(seed, n=4000, share=0.1, delta=0.1, sigma=0.9):
    """Null values N(delta, sigma^2), and a share of others about 5 and -5."""
    rng = np.random.default_rng(seed)
    values = rng.normal(delta, sigma, n)
    others = rng.random(n) < share
    values[others] = rng.choice([-5.0, 5.0], others.sum()) + rng.normal(0, 0.5, others.sum())
    return values, others


def test_a_bin_holds_its_right_edge_and_the_first_its_left_edge_too():
    # Breaks 0, 1, 2, 3, 4: the edge values 1, 2 and 3 belong to the bin on their left, and so does 3 + 5e-8, which is
    # less than 1e-7 of a bin above its edge; 3 + 2e-7 is not.
    values = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 3.0, 3 + 5e-8, 3 + 2e-7, 4.0])
    bins = count_bins(values, 5, 0.0)
    np.testing.assert_array_equal(bins.x, [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(bins.counts, [3, 3, 2, 2])


@given(st.lists(st.integers(0, 24), min_size=2, max_size=60).filter(lambda values: len(set(values)) > 1))
@settings(max_examples=50, deadline=None)
def test_counts_are_those_of_a_loop(values):
    bins = count_bins(np.array(values) / 4, 7, 0.0)
    breaks = np.linspace(min(values) / 4, max(values) / 4, 7)
    tolerance = 1e-7 * (breaks[1] - breaks[0])
    loop = [0] * 6
    for value in values:
        loop[next((k for k in range(6) if value / 4 <= breaks[k + 1] + tolerance), 5)] += 1
    assert list(bins.counts) == loop
    assert bins.counts.sum() == len(values)


def test_clipped_values_are_counted_in_the_end_bins_but_fitted_as_one():
    values = np.arange(101.0)
    bins = count_bins(values, 10, 0.1)  # from the quantile 10 to 90; bins of 80 / 9
    assert bins.counts.sum() == 101
    assert (bins.counts[0], bins.fitted[0], bins.counts[-1], bins.fitted[-1]) == (19, 1, 19, 1)
    np.testing.assert_array_equal(bins.counts[1:-1], bins.fitted[1:-1])


def test_a_negative_pct_stretches_the_range_about_the_median():
    bins = count_bins(np.array([0.0, 1.0, 4.0]), 3, -0.5)  # 1 + 1.5 (0 - 1) = -0.5, 1 + 1.5 (4 - 1) = 5.5
    np.testing.assert_allclose(bins.x, [1.0, 4.0])
    np.testing.assert_array_equal(bins.counts, [2, 1])


@pytest.mark.parametrize("df", [1, 2, 7, 12])
def test_the_basis_spans_the_natural_cubic_splines(df):
    x = np.linspace(-3, 5, 119)
    knots = np.quantile(x, np.linspace(0, 1, df + 1))
    cardinal = CubicSpline(knots, np.eye(df + 1), bc_type="natural")(x)  # df + 1 of them, each 1 at one knot
    basis = natural_basis(x, df)
    assert basis.shape == (119, df + 1)
    np.testing.assert_allclose(basis @ np.linalg.lstsq(basis, cardinal, rcond=None)[0], cardinal, atol=1e-12)


def test_the_curve_fits_by_maximum_likelihood():
    bins = count_bins(mixture(0, share=0.0)[0], 120, 0.0)
    density = fit_density(bins, 7, "")
    # The score equations of Poisson regression with a log link; the first is that the totals agree.
    np.testing.assert_allclose(density.basis.T @ (bins.counts - density.f), 0.0, atol=1e-3)
    assert density.warnings == ()


def test_misfit_is_reported_where_the_curve_is_too_stiff():
    result = locfdr(mixture(0)[0], df=2)
    f, counts = result.mat["f"].to_numpy(), result.mat["counts"].to_numpy()
    misfit = ((counts - f) ** 2 / (f + 1))[1:-1].sum() / (119 - 2 - 2)
    assert f"f(z) misfit = {misfit:.1f}.  Rerun with increased df" in result.warnings


@pytest.mark.parametrize("null", ["mle", "central_matching"])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_null_is_found(null, seed):
    values, others = mixture(seed)
    result = locfdr(values, null=null, df=15)  # three humps
    assert abs(result.delta - 0.1) < 4 * result.delta_se < 0.3
    assert abs(result.sigma - 0.9) < 4 * result.sigma_se < 0.3
    assert abs(result.p0 - 0.9) < 4 * result.p0_se + 0.01 < 0.2
    assert np.mean(others[result.fdr < 0.2]) > 0.95
    assert np.mean(result.fdr[others] < 0.2) > 0.95


def test_maximum_likelihood_maximises_the_truncated_likelihood():
    values, _ = mixture(3)
    result = locfdr(values)
    # The interval of the second fit is about the first, which is about the median with the width of the quartiles.
    width = 4.3 * np.exp(-0.26 * np.log10(len(values)))
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    centre, scale = median, (high - low) / (2 * norm.ppf(0.75))
    for _ in range(2):
        a, b = centre - width * scale, centre + width * scale
        inside = values[(values >= a) & (values <= b)]

        def loss(theta, a=a, b=b, inside=inside):
            null = norm(theta[0], np.exp(theta[1]))
            return np.log(null.cdf(b) - null.cdf(a)) - null.logpdf(inside).mean()

        best = minimize(loss, [centre, np.log(scale)], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
        centre, scale = best.x[0], np.exp(best.x[1])
    p0 = len(inside) / len(values) / (norm.cdf(b, centre, scale) - norm.cdf(a, centre, scale))
    np.testing.assert_allclose([result.delta, result.sigma, result.p0], [centre, scale, p0], atol=1e-5)


def test_central_matching_is_a_parabola_through_log_f():
    values, _ = mixture(4)
    result = locfdr(values, null="central_matching")
    low, high = np.quantile(values, [0.25, 0.75])
    x, f = result.mat["x"].to_numpy(), result.mat["f"].to_numpy()
    middle = (x > low) & (x < high)
    square, line, _ = np.polyfit(x[middle], np.log(f[middle]), 2)
    sigma = (-2 * square) ** -0.5
    assert result.sigma == pytest.approx(sigma) == result.sigma_right
    assert result.delta == pytest.approx(line * sigma**2)


def test_a_split_null_has_a_standard_deviation_for_either_side():
    rng = np.random.default_rng(5)
    halves = np.abs(rng.normal(size=20000))
    values = np.where(rng.random(20000) < 0.5 / 1.5, -0.5 * halves, halves)
    result = locfdr(values, null="split")
    low, high = np.quantile(values, [0.25, 0.75])
    x, f = result.mat["x"].to_numpy(), result.mat["f"].to_numpy()
    middle = (x > low) & (x < high)
    u = x[middle] - x[f.argmax()]
    terms = np.column_stack([np.ones_like(u), u**2, np.where(u > 0, u**2, 0.0)])
    _, square, more = np.linalg.lstsq(terms, np.log(f[middle]), rcond=None)[0]
    assert result.delta == x[f.argmax()]
    assert result.sigma == pytest.approx((-2 * square) ** -0.5)
    assert result.sigma_right == pytest.approx((-2 * (square + more)) ** -0.5)
    assert result.sigma < 0.75 < result.sigma_right
    assert list(result.fp0.columns) == ["delta", "sigleft", "p0", "sigright"]


@pytest.mark.parametrize("null", NULLS)
def test_fdr_is_p0_f0_over_f(null):
    values, _ = mixture(6)
    result = locfdr(values, null=null)
    x, f, counts = (result.mat[column].to_numpy() for column in ("x", "f", "counts"))
    left = np.where(x < result.delta, result.sigma, result.sigma_right)
    f0 = np.exp(-((x - result.delta) ** 2) / (2 * left**2))
    f0 *= f.sum() / f0.sum()
    rate = np.minimum(result.p0 * f0 / f, 1.0)
    fdr = result.mat["fdrtheo" if null == "theoretical" else "fdr"].to_numpy()
    changed = fdr != rate
    np.testing.assert_allclose(fdr[fdr < 1], rate[fdr < 1], rtol=1e-9)
    assert (np.abs(x[changed & (fdr == 1)] - result.delta) < 2.5).all()  # set to 1 about the centre only
    np.testing.assert_allclose(result.mat["Fdrleft"], np.cumsum(result.p0 * f0) / np.cumsum(f), rtol=1e-9)
    np.testing.assert_allclose(result.mat["p1f1"], (1 - fdr) * f, rtol=1e-12)
    np.testing.assert_allclose(result.fdr, np.interp(values, x, fdr), rtol=1e-12)
    if null != "theoretical":
        power = ((1 - fdr) * f * fdr).sum() / ((1 - fdr) * f).sum()
        assert result.efdr["Efdr"] == pytest.approx(power)
    assert counts.sum() == len(values)


def test_p0_of_the_theoretical_null_compares_the_middle():
    values, _ = mixture(7, delta=0.0, sigma=1.0)
    result = locfdr(values, null="theoretical")
    x, f, f0 = (result.mat[column].to_numpy() for column in ("x", "f", "f0theo"))
    low, high = np.quantile(values, [0.25, 0.75])
    middle = (x > low) & (x < high)
    assert result.p0 == pytest.approx(f[middle].sum() / f0[middle].sum())
    assert (result.delta, result.sigma) == (0.0, 1.0)


@pytest.mark.parametrize(("null", "names"), [("mle", ("delta", "sigma", "p0")), ("theoretical", ("p0",))])
def test_standard_errors_are_the_spread_over_repetitions(null, names):
    fits = [locfdr(mixture(seed, delta=0.0, sigma=1.0)[0], null=null) for seed in range(60)]
    for name in names:
        spread = np.std([getattr(fit, name) for fit in fits], ddof=1)
        said = np.mean([getattr(fit, f"{name}_se") for fit in fits])
        assert said == pytest.approx(spread, rel=0.35)  # the spread itself is known to 9 %


@given(st.floats(0.3, 1.2), st.floats(-0.3, 0.3))
@settings(max_examples=15, deadline=None)
def test_maximum_likelihood_moves_with_the_values(scale, shift):
    values, _ = mixture(8)
    plain, moved = locfdr(values), locfdr(scale * values + shift)
    # The iteration ends at steps below 1e-5, on whatever scale.
    assert moved.delta == pytest.approx(scale * plain.delta + shift, abs=1e-4)
    assert moved.sigma == pytest.approx(scale * plain.sigma, abs=1e-4)
    assert moved.p0 == pytest.approx(plain.p0, abs=1e-4)
    np.testing.assert_allclose(moved.fdr, plain.fdr, atol=2e-3)


@pytest.mark.parametrize("null", NULLS)
def test_the_order_of_the_values_does_not_matter(null):
    values, _ = mixture(9)
    order = np.random.default_rng(0).permutation(len(values))
    np.testing.assert_allclose(locfdr(values[order], null=null).fdr, locfdr(values, null=null).fdr[order], atol=1e-9)


def test_many_values_take_a_wider_interval_and_say_so():
    values = np.tile(mixture(10, n=5000)[0], 101)
    result = locfdr(values)
    told = [text for text in result.warnings if text.startswith("length(zz) > 500,000")]
    centre, half = (float(number) for number in told[0].split("c(")[1].split(")")[0].split(", "))
    assert centre == pytest.approx(0.1, abs=0.1)
    assert half == pytest.approx(4.3 * np.exp(-0.26 * np.log10(505_000)) * 0.9, rel=0.2)
    assert result.sigma == pytest.approx(0.9, abs=0.1)


def test_crossings_are_where_fdr_falls_to_a_fifth():
    x = np.arange(7.0)
    fdr = np.array([0.1, 0.3, 1.0, 1.0, 0.6, 0.2, 0.0])
    # Left: half way from 0.1 at 0 to 0.3 at 1. Right: at 5. No crossing where the end is not below.
    np.testing.assert_allclose(level_crossings(x, fdr), (0.5, 5.0))
    assert np.isnan(level_crossings(x, fdr.clip(0.25))).all()


def test_bins_of_one_fdr_count_at_the_mean_of_their_x():
    x = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    fdr = np.array([0.1, 1.0, 1.0, 1.0, 1.0, 0.3, 0.1, 0.1])
    # The maximum is the last 1, at x = 1. Left of it, the four bins of 1 are one point at (-2 - 1 + 0 + 1) / 4 = -0.5:
    # from (0.1, -3) to (1, -0.5), 0.2 is at -3 + 2.5 (0.2 - 0.1) / (1 - 0.1) = -3 + 2.5 / 9.
    # Right of it, the two bins of 0.1 are one point at 3.5: from (0.1, 3.5) to (0.3, 2), 0.2 is at 2.75.
    np.testing.assert_allclose(level_crossings(x, fdr), (-3 + 2.5 / 9, 2.75))


def test_an_fdr_that_never_reaches_a_fifth_does_not_cross_it():
    assert np.isnan(level_crossings(np.arange(3.0), np.array([0.05, 0.15, 0.1]))).all()


def test_distribution_of_fdr_counts_what_is_below():
    cdf = non_null_distribution(np.array([0.005, 0.5, 0.991]), np.array([1.0, 3.0, 5.0]))
    assert (cdf[0, 1], cdf[48, 1], cdf[49, 1], cdf[98, 1]) == (0.25, 0.25, 1.0, 1.0)  # 1 of 4, and all of 4
    assert np.isnan(non_null_distribution(np.ones(3), np.zeros(3))[:, 1]).all()


def test_two_far_outliers_are_named():
    values = np.append(mixture(11, share=0.0, delta=0.0, sigma=0.04)[0], [6.5, -7.25])
    for null in NULLS:
        with pytest.raises(NoNull, match=r"bins lie between .* \(2: -7.25, 6.5\); remove them, clip them with pct"):
            locfdr(values, null=null)
    assert locfdr(values, pct=0.001).sigma == pytest.approx(0.04, abs=0.01)


def test_estimates_without_standard_errors_say_so():
    # The bins from about 0.2 to 1.5 are empty: the curve there falls to nothing, and nothing is known of it.
    values = np.append(mixture(12, n=3000, share=0.0, delta=0.0, sigma=0.05)[0], 1.5)
    result = locfdr(values, null="central_matching")
    assert any(text.startswith("standard errors are not available") for text in result.warnings)
    assert np.isnan([result.delta_se, result.sigma_se, result.p0_se]).all()
    assert result.mat["lfdrse"].isna().all()
    assert result.sigma == pytest.approx(0.05, abs=0.01)


def test_a_curve_that_runs_away_is_no_estimate():
    values = np.append(np.random.default_rng(0).normal(0, 0.05, 3000), 40.0)  # one bin for all but one
    with pytest.raises(NoNull, match=r"ran away; \d+ of 119 bins are empty: far outliers stretch the range"):
        locfdr(values)


def test_a_null_that_fails_is_not_replaced():
    rng = np.random.default_rng(0)
    humps = np.concatenate([rng.normal(-4, 1, 1000), rng.normal(4, 1, 1000)])
    with pytest.raises(NoNull, match="null='central_matching' cannot be estimated: log f has no peak"):
        locfdr(humps, null="central_matching")
    with pytest.raises(NoNull, match=r"null='mle' cannot be estimated: .* bring them near 0"):
        locfdr(rng.normal(100, 1, 2000))
    told = locfdr(rng.normal(100, 1, 2000), null="central_matching")
    assert "ML estimation failed" in told.warnings
    assert told.delta == pytest.approx(100, abs=0.5)
    assert told.fp0.loc["mlest"].isna().all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(499), "at least 500 values"),
        (np.zeros((30, 20)), "shape (30, 20)"),
        (np.full(500, 0.5), "all 500 values are equal (0.5)"),
        (np.append(np.arange(599.0), np.nan), "1 of 600 values are NaN or infinite (the first: nan at 599)"),
        (np.append(np.inf, np.arange(599.0)), "(the first: inf at 0)"),
        (np.append(np.zeros(600), np.arange(-200.0, 200.0)), "% of the 1000 values equal 0.0"),
        (np.arange(500.0) * 1e40, "bring them to a scale of about 1"),
    ],
)
def test_values_that_cannot_be_used_are_refused_in_words(values, words):
    with pytest.raises(NoNull) as caught:
        locfdr(values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"null": "empirical"}, "'empirical'; expected one of mle, theoretical, central_matching, split"),
        ({"bins": 11}, "at least df + 5 = 12 bins for df=7, got 11"),
        ({"df": 0}, "df of at least 1, got 0"),
        ({"pct": 0.3}, "got 0.3"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ValueError) as caught:
        locfdr(mixture(0)[0], **options)
    assert words in str(caught.value)
