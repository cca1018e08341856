"""What the values of a file are is recognised, whatever their size; log1p of counts per 10 000 is never refused."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pertharness.contract.errors import DataError
from pertharness.datasets import load_dataset
from pertharness.datasets.scale import Evidence, ScaleReading, judge
from scipy import sparse

N_CELLS = 120
# What decides is statistics: a search at random would find a screen in many thousands that is read otherwise.
SLOW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def make_counts(seed: int, n_genes: int, depth: float, n_cells: int = N_CELLS) -> np.ndarray:
    """Counts of cells of a few kinds and very different totals, each with a count at least: (n_cells, n_genes)."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.4, 1.0, n_genes) * np.exp(rng.normal(0, 0.6, (4, n_genes)))
    rates /= rates.sum(axis=1, keepdims=True)
    totals = depth * rng.lognormal(0, 0.4, n_cells)
    counts = rng.poisson(rates[rng.integers(0, 4, n_cells)] * totals[:, None]).astype(np.float64)
    counts[counts.sum(axis=1) == 0, 0] = 1
    return counts


def scale_to(counts: np.ndarray, total: float | np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True) * total


def to_median(counts: np.ndarray) -> np.ndarray:
    """What ``scanpy.pp.normalize_total`` does without a target."""
    return scale_to(counts, float(np.median(counts.sum(axis=1))))


def read(values: np.ndarray, form: type = np.asarray, totals: np.ndarray | None = None, step: int = 50) -> ScaleReading:
    evidence = Evidence(np.zeros(len(values)))
    for start in range(0, len(values), step):
        evidence.add(form(values[start : start + step]), start)
    return judge(evidence, totals)


KINDS = {
    "median": (lambda counts: np.log1p(to_median(counts)), "constant", "ln"),
    "per million": (lambda counts: np.log1p(scale_to(counts, 1e6)), "constant", "ln"),
    "per thousand": (lambda counts: np.log1p(scale_to(counts, 1e3)), "constant", "ln"),
    "raw": (lambda counts: np.log1p(counts), "whole", "ln"),
    "log2": (lambda counts: np.log2(1 + scale_to(counts, 1e4)), "constant", "log2"),
    "log10": (lambda counts: np.log10(1 + scale_to(counts, 1e4)), "constant", "log10"),
    "log10 of the median": (lambda counts: np.log10(1 + to_median(counts)), "constant", "log10"),
    "log2 of raw": (lambda counts: np.log2(1 + counts), "whole", "log2"),
    "twice": (lambda counts: np.log1p(np.log1p(scale_to(counts, 1e4))), "constant", "twice"),
    "square roots": (lambda counts: np.sqrt(counts), "whole", "sqrt"),
    "no logarithm": (lambda counts: scale_to(counts, 1e4), "constant", "none"),
    "proportions": (lambda counts: scale_to(counts, 1.0), "constant", "none"),
}


@pytest.mark.parametrize("kind", KINDS)
@SLOW
@given(
    seed=st.integers(0, 2**32 - 1),
    n_genes=st.integers(60, 800),
    depth=st.floats(400, 60_000).filter(lambda depth: not 8000 < depth < 12_000),
    dtype=st.sampled_from([np.float32, np.float64]),
    form=st.sampled_from([np.asarray, sparse.csr_matrix]),
)
def test_each_kind_is_recognised(kind: str, seed: int, n_genes: int, depth: float, dtype: type, form: type) -> None:
    change, expected, transformation = KINDS[kind]
    reading = read(change(make_counts(seed, n_genes, depth)).astype(dtype), form)
    assert (reading.kind, reading.transformation) == (expected, transformation)


@SLOW
@given(
    seed=st.integers(0, 2**32 - 1),
    n_genes=st.integers(20, 800),
    depth=st.floats(50, 200_000),
    share=st.floats(0.02, 1),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    digits=st.sampled_from([None, None, 2, 3, 4]),
    knows_totals=st.booleans(),
)
@example(seed=1808, n_genes=20, depth=50.0, share=0.5, dtype=np.float32, digits=4, knows_totals=True)
@example(seed=382, n_genes=20, depth=42975.0, share=0.75, dtype=np.float32, digits=2, knows_totals=False)
def test_logs_of_counts_per_10_000_are_never_refused(
    seed: int, n_genes: int, depth: float, share: float, dtype: type, digits: int | None, knows_totals: bool
) -> None:
    counts = make_counts(seed, n_genes, depth)
    values = np.log1p(scale_to(counts, 1e4))
    if digits is not None:
        values = np.round(values, digits)
    values = values.astype(dtype)
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.choice(n_genes, max(2, int(share * n_genes)), replace=False))
    totals = counts.sum(axis=1) if knows_totals else None
    assert read(values[:, kept], totals=totals).kind in ("cp10k", "subset")


@SLOW
@given(seed=st.integers(0, 2**32 - 1), n_drop=st.integers(1, 30), depth=st.floats(2000, 100_000))
def test_a_few_genes_that_were_left_out_are_no_other_total(seed: int, n_drop: int, depth: float) -> None:
    counts = make_counts(seed, 400, depth)
    values = np.log1p(scale_to(counts, 1e4)).astype(np.float32)
    highest = np.argsort(-counts.sum(axis=0))[:n_drop]
    assert read(np.delete(values, highest, axis=1)).kind in ("cp10k", "subset")


def test_cells_without_counts_decide_nothing() -> None:
    counts = make_counts(0, 200, 3000)
    values = np.log1p(to_median(counts))
    values[::2] = 0
    assert (read(values).kind, read(values).n_empty) == ("constant", N_CELLS // 2)
    values = np.log1p(scale_to(counts, 1e4))
    values[::2] = 0
    assert (read(values).kind, read(values).n_empty) == ("cp10k", N_CELLS // 2)


def test_batches_with_a_median_each_are_recognised() -> None:
    counts = make_counts(0, 300, 5000)
    medians = np.array([3000.0, 4321.0, 10_000.0])[np.arange(N_CELLS) % 3]
    assert read(np.log1p(scale_to(counts, medians[:, None]))).kind == "constant"


@pytest.mark.parametrize("change", [lambda counts: np.log1p(to_median(counts)), lambda counts: np.log10(1 + counts)])
def test_a_batch_on_another_scale_is_seen(change: Callable[[np.ndarray], np.ndarray]) -> None:
    counts = make_counts(0, 300, 5000, n_cells=1000)
    values = np.log1p(scale_to(counts, 1e4))
    values[300:350] = change(counts)[300:350]
    assert read(values).kind in ("constant", "whole")


@pytest.mark.parametrize("n_cells", [3, 60])
def test_cells_that_are_all_alike_prove_nothing(n_cells: int) -> None:
    assert read(np.full((n_cells, 4), 0.5)).kind == "subset"


def test_every_cell_counts() -> None:
    values = np.log1p(scale_to(make_counts(0, 300, 5000, n_cells=3000), 1e4)).astype(np.float32)
    values[2345] = np.log1p(np.expm1(values[2345]) * 3)
    reading = read(values)
    assert (reading.kind, reading.row, reading.n_other) == ("above", 2345, 1)


def test_highly_expressed_genes_that_were_excluded_from_the_total_are_said() -> None:
    counts = make_counts(0, 300, 5000)
    counts[:, 0] += 2000 + np.arange(N_CELLS) * 10
    others = counts[:, 1:].sum(axis=1, keepdims=True)
    assert read(np.log1p(counts / others * 1e4)).kind == "above"


def test_values_that_were_normalised_and_logged_twice_are_recognised() -> None:
    once = np.log1p(scale_to(make_counts(0, 300, 5000), 1e4))
    assert read(np.log1p(scale_to(once, 1e4))).kind == "again"


def test_totals_in_obs_tell_the_total_of_a_gene_subset() -> None:
    counts = make_counts(0, 1000, 5000)
    reading = read(np.log1p(to_median(counts))[:, :500], totals=counts.sum(axis=1))
    median = float(np.median(counts.sum(axis=1)))
    assert (reading.kind, reading.transformation) == ("constant", "ln")
    assert reading.total == pytest.approx(median, rel=1e-6)
    assert reading.factor == pytest.approx(1e4 / median, rel=1e-6)
    # Without them the counts that the values are made of still tell that it is not 10 000.
    assert read(np.log1p(to_median(counts))[:, :500]).kind == "other"


def test_log10_of_a_gene_subset_is_recognised() -> None:
    reading = read(np.log10(1 + scale_to(make_counts(0, 1000, 5000), 1e4))[:, :500])
    assert (reading.kind, reading.transformation, reading.factor) == ("constant", "log10", 1.0)


@pytest.mark.parametrize("transformation", ["ln", "log2", "sqrt"])
def test_a_gene_subset_above_10_000_is_undone_by_what_was_done(transformation: str) -> None:
    done = {"ln": lambda x: np.log1p(100 * x), "log2": lambda x: np.log2(1 + x), "sqrt": np.sqrt}[transformation]
    reading = read(done(scale_to(make_counts(0, 1000, 5000), 1e4))[:, :700])
    assert reading.high > 1e4
    assert (reading.kind, reading.transformation) == ("constant", transformation)
    assert reading.factor == pytest.approx(0.01 if transformation == "ln" else 1.0)


@pytest.mark.parametrize("total", [2000.0, 4000.0, 5000.0, 1e6])
def test_a_total_that_divides_a_usual_one_is_not_taken_for_it(total: float) -> None:
    counts = make_counts(0, 1000, 4000, n_cells=N_CELLS + 1)
    counts[:, -1] += 8000 - np.median(counts.sum(axis=1))  # of a gene that is left out
    values = np.log1p(scale_to(counts, total))[:, :500]
    for totals in (None, counts.sum(axis=1)):
        reading = read(values, totals=totals)
        assert (reading.kind, reading.total) == ("constant", pytest.approx(total))


def test_totals_tell_the_total_of_deep_cells_without_single_counts() -> None:
    counts = make_counts(0, 1000, 60_000)
    totals = counts.sum(axis=1)
    kept = counts.mean(axis=0) > 60
    reading = read(np.log1p(to_median(counts))[:, kept], totals=totals)
    assert (reading.kind, reading.total) == ("constant", pytest.approx(float(np.median(totals))))
    assert read(np.log1p(scale_to(counts, 1e4))[:, kept], totals=totals).kind == "subset"


@pytest.mark.parametrize("has_totals", [False, True])
def test_logs_of_raw_counts_with_fractions_are_recognised(has_totals: bool) -> None:
    whole = make_counts(0, 1000, 1500)
    counts = np.clip(whole - 0.3 * np.random.default_rng(1).random(whole.shape), 0, None)
    totals = whole.sum(axis=1) if has_totals else None
    assert read(np.log1p(counts), totals=totals).kind == "depth"
    assert read(np.log1p(scale_to(counts, 1e4))[:, :600], totals=totals).kind == "subset"


def test_batches_with_medians_next_to_each_other_are_recognised() -> None:
    counts = make_counts(0, 300, 5000)
    medians = np.array([4001.0, 4013.0, 4020.0])[np.arange(N_CELLS) % 3]
    reading = read(np.log1p(scale_to(counts, medians[:, None])))
    assert (reading.kind, reading.factor) == ("constant", None)


def test_a_gene_subset_with_some_cells_on_another_scale_is_seen() -> None:
    counts = make_counts(0, 1000, 5000)
    totals = np.where(np.arange(N_CELLS) % 4 == 0, 3517.0, 1e4)
    assert read(np.log1p(scale_to(counts, totals[:, None]))[:, :500]).kind == "other"


def test_logs_of_shares_of_which_genes_were_left_out_are_no_subset_of_10_000() -> None:
    assert read(np.log1p(scale_to(make_counts(0, 1000, 5000), 1.0))[:, :500]).kind == "other"


@pytest.mark.parametrize("n_genes", [40, 80, 150])
def test_cells_with_as_many_counts_each_are_no_batches_and_no_raw_counts(n_genes: int) -> None:
    rng = np.random.default_rng(0)
    rates = make_counts(0, 300, 5000).mean(axis=0)
    counts = rng.multinomial(1000, rates / rates.sum(), size=600)
    assert read(np.log1p(counts[:, :n_genes] * 10.0)).kind == "subset"


# Through files.


def write_screen(values: object, folder: Path, **obs: object) -> Path:
    labels = [("ctrl", "G0", "G1", "G2")[i % 4] for i in range(N_CELLS)]
    table = pd.DataFrame({"condition": pd.Categorical(labels), **obs}, index=[f"c{i}" for i in range(N_CELLS)])
    path = Path(tempfile.mkdtemp(dir=folder), "mine.h5ad")
    var = pd.DataFrame(index=[f"G{i}" for i in range(values.shape[1])])  # type: ignore[attr-defined]
    anndata.AnnData(X=values, obs=table, var=var).write_h5ad(path)
    return path


def load(path: Path, **params: object) -> anndata.AnnData:
    return load_dataset("h5ad", path, params).to_memory()


def notes_of(adata: anndata.AnnData) -> str:
    return str(adata.uns["pertharness"]["notes"])


COUNTS = make_counts(1, 300, 3000)
TRUTH = np.log1p(scale_to(COUNTS, 1e4))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("no logarithm", "proportions")])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_each_kind_is_refused_with_the_flag_that_rescales_it(kind: str, form: type, tmp_path: Path) -> None:
    path = write_screen(form(KINDS[kind][0](COUNTS).astype(np.float32)), tmp_path)
    with pytest.raises(DataError, match="--rescale"):
        load(path)
    rescaled = load(path, rescale=True)
    values = rescaled.X if form is np.asarray else rescaled.X.toarray()
    np.testing.assert_allclose(values, TRUTH, rtol=2e-5, atol=1e-6)
    assert values.dtype == np.float32
    assert "rescaled" in notes_of(rescaled)


def test_values_without_a_logarithm_are_refused_with_the_flags_that_normalise_them(tmp_path: Path) -> None:
    for values in (scale_to(COUNTS, 1e4), scale_to(COUNTS, 1.0)):
        path = write_screen(values.astype(np.float32), tmp_path)
        with pytest.raises(DataError, match="--scale counts --normalise"):
            load(path)
        np.testing.assert_allclose(load(path, scale="counts", normalise=True).X, TRUTH, rtol=1e-5, atol=1e-6)


def test_logs_that_are_declared_as_counts_are_refused(tmp_path: Path) -> None:
    path = write_screen(np.log1p(to_median(COUNTS)).astype(np.float32), tmp_path)
    with pytest.raises(DataError, match="these are logarithms"):
        load(path, scale="counts", normalise=True)


def test_what_is_right_is_not_changed_by_rescaling(tmp_path: Path) -> None:
    path = write_screen(TRUTH.astype(np.float32), tmp_path)
    assert np.array_equal(load(path, rescale=True).X, TRUTH.astype(np.float32))
    assert "10 000 in each row" in notes_of(load(path))


def test_a_gene_subset_is_taken_with_a_note_and_cannot_be_rescaled(tmp_path: Path) -> None:
    path = write_screen(TRUTH[:, :200].astype(np.float32), tmp_path)
    assert np.array_equal(load(path).X, TRUTH[:, :200].astype(np.float32))
    assert "genes were left out" in notes_of(load(path))
    with pytest.raises(DataError, match="leave it out"):
        load(path, rescale=True)


def test_a_gene_subset_of_a_known_total_is_rescaled_by_it(tmp_path: Path) -> None:
    values = np.log1p(to_median(COUNTS))[:, :200].astype(np.float32)
    path = write_screen(values, tmp_path, total_counts=COUNTS.sum(axis=1))
    with pytest.raises(DataError, match=r"of which genes were left out.*--rescale"):
        load(path)
    np.testing.assert_allclose(load(path, rescale=True).X, TRUTH[:, :200], rtol=2e-5, atol=1e-6)


def test_a_declared_scale_is_taken_and_the_contradiction_said(tmp_path: Path) -> None:
    path = write_screen(np.log1p(to_median(COUNTS)).astype(np.float32), tmp_path)
    notes = notes_of(load(path, scale="log1p"))
    assert "(declared; but the sum" in notes
    assert "but" not in notes_of(load(write_screen(TRUTH.astype(np.float32), tmp_path), scale="log1p"))


def means_of(values: np.ndarray, folder: Path, **uns: object) -> Path:
    labels = ["ctrl", "G0", "G1", "G2"]
    rows = np.stack([values[i::4].mean(axis=0) for i in range(4)])
    path = Path(tempfile.mkdtemp(dir=folder), "means.h5ad")
    var = pd.DataFrame(index=[f"G{i}" for i in range(values.shape[1])])
    obs = pd.DataFrame({"condition": labels}, index=labels)
    anndata.AnnData(X=rows, obs=obs, var=var, uns=dict(uns)).write_h5ad(path)
    return path


def test_means_are_taken_with_a_note_that_a_declaration_silences(tmp_path: Path) -> None:
    for values in (TRUTH, np.log1p(to_median(COUNTS))):  # no sum tells the one from the other
        path = means_of(values, tmp_path)
        assert "cannot be checked" in notes_of(load(path))
        assert "cannot be checked" not in notes_of(load(path, scale="log1p"))
    fields = {"name": "x", "level": "pseudobulk", "scale": "log1p CP10k", "origin": "x"}
    assert "cannot be checked" not in notes_of(load(means_of(TRUTH, tmp_path, pertharness=fields)))


def test_means_that_were_normalised_after_averaging_can_be_rescaled(tmp_path: Path) -> None:
    pooled = np.stack([COUNTS[i::4].sum(axis=0) for i in range(4)]).repeat(4, axis=0)
    path = means_of(np.log1p(scale_to(pooled, 3000.0))[[0, 4, 8, 12]], tmp_path)
    with pytest.raises(DataError, match="--rescale"):
        load(path)
    expected = np.log1p(scale_to(pooled[[0, 4, 8, 12]], 1e4))
    np.testing.assert_allclose(load(path, rescale=True).X, expected, rtol=1e-6)
    with pytest.raises(DataError, match="average them again"):
        load(means_of(TRUTH, tmp_path), rescale=True)
