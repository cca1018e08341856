"""What the values of predictions are: cells by what they add up to, means by their level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pertharness.contract.errors import DataError
from pertharness.worker.external.file import FileChoices
from pertharness.worker.external.read import read_prediction
from scipy import sparse

N_GENES, N_CELLS = 300, 24
GENES = pd.Index([f"G{i}" for i in range(N_GENES)])
QUERIES = ["A", "B", "C"]
rng = np.random.default_rng(5)
RATES = rng.gamma(0.8, 1.0, N_GENES).clip(max=3)
RATES = RATES / RATES.sum()


def draw(effect: float) -> np.ndarray:
    """Return counts of cells, shape (N_CELLS, N_GENES), of a perturbation that moves every third gene."""
    rates = RATES * np.exp(effect * (np.arange(N_GENES) % 3 == 0))
    depths = rng.uniform(1500, 6000, N_CELLS)
    return rng.poisson(rates / rates.sum() * depths[:, None]).astype(float)


COUNTS = {"control": draw(0.0), "A": draw(0.7), "B": draw(-0.5), "C": draw(1.2)}


def normalised(counts: np.ndarray, total: float = 1e4) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True) * total


Y0 = np.log1p(normalised(COUNTS["control"])).mean(axis=0)
SCALES: MappingProxyType[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType({
    "log1p": lambda x: np.log1p(normalised(x)),
    "median": lambda x: np.log1p(normalised(x, 3600.0)),
    "raw": np.log1p,
    "log2": lambda x: np.log2(1 + normalised(x)),
    "log10": lambda x: np.log10(1 + normalised(x)),
    "twice": lambda x: np.log1p(normalised(np.log1p(normalised(x)))),
    "linear": lambda x: normalised(x) / 200,
    "counts": lambda x: x,
    "million": lambda x: np.log1p(normalised(x, 1e6)),
})  # fmt: skip


def cells_of(scale: str, labels: tuple[str, ...] = ("A", "B", "C")) -> tuple[list[str], np.ndarray]:
    return [label for label in labels for _ in range(N_CELLS)], np.vstack([SCALES[scale](COUNTS[x]) for x in labels])


def read(
    labels: list[str],
    values: object,
    tmp_path: Path,
    kind: str | None = None,
    genes: pd.Index = GENES,
    **params: object,
) -> tuple[np.ndarray, list[str]]:
    names = [f"row{i}" for i in range(len(labels))]
    obs = pd.DataFrame({"perturbation": labels}, index=names)
    AnnData(values, obs=obs, var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "p.h5ad")
    prediction, notes = read_prediction(
        tmp_path / "p.h5ad", GENES, QUERIES, y0=Y0, choices=FileChoices(kind=kind), params=params
    )
    return prediction.X, notes


def means(scale: str) -> np.ndarray:
    return np.array([SCALES[scale](COUNTS[label]).mean(axis=0) for label in QUERIES])


def test_cells_of_the_right_scale_are_averaged(tmp_path: Path) -> None:
    labels, values = cells_of("log1p", ("A", "control", "B", "C"))
    prediction, notes = read(labels, sparse.csr_matrix(values), tmp_path)
    np.testing.assert_allclose(prediction, means("log1p"), rtol=1e-13)
    assert notes[0] == "24 rows of p.h5ad are controls ('control'): not scored"
    assert notes[1].startswith("72 rows of p.h5ad are cells of 3 perturbations, 24 of each")
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("median", r"expm1 of its cells adds up to 3600 in each cell, not to 10 000.*\* 10000 / 3600\)"),
        ("raw", "its cells are log1p of whole numbers: raw counts that were not normalised"),
        ("log2", r"its cells are log2\(1 \+ x\), whose inverse adds up to 10000 in each cell, not log1p"),
        ("log10", r"its cells are log10\(1 \+ x\), whose inverse adds up to 10000 in each cell, not log1p"),
        ("twice", "normalised and logged twice"),
        ("linear", "adds up to 50 in each cell"),
        ("counts", "look like counts; give log1p of counts per 10 000"),
    ],
)
def test_cells_of_another_scale_are_refused(scale: str, words: str, tmp_path: Path) -> None:
    labels, values = cells_of(scale)
    with pytest.raises(DataError, match=words):
        read(labels, np.minimum(values, 9.0) if scale == "counts" else values, tmp_path)


def test_controls_of_another_scale_give_the_predictions_away(tmp_path: Path) -> None:
    """The cells of a model add up to nothing in particular, those that were observed do."""
    labels, values = cells_of("median", ("control", "A", "B", "C"))
    values[N_CELLS:] += rng.gamma(1, 0.05, values[N_CELLS:].shape)
    with pytest.raises(DataError, match="expm1 of the cells of its controls adds up to 3600"):
        read(labels, values, tmp_path)
    read(labels[N_CELLS:], values[N_CELLS:], tmp_path)


def test_a_declared_scale_of_the_dataset_is_not_checked_but_noted(tmp_path: Path) -> None:
    labels, values = cells_of("median")
    prediction, notes = read(labels, values, tmp_path, scale="log1p")
    np.testing.assert_allclose(prediction, means("median"), rtol=1e-13)
    assert any("adds up to 3600 in each cell" in note and "declared" in note for note in notes)
    assert np.array_equal(read(labels, values, tmp_path, "mean")[0], prediction)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_mean_that_stands_for_each_cell_is_no_total(repeated: bool, tmp_path: Path) -> None:
    labels, _ = cells_of("log1p")
    values = np.repeat(means("log1p"), N_CELLS, axis=0)
    if not repeated:
        values = values + rng.gamma(1, 0.05, values.shape)
    prediction, _ = read(labels, values, tmp_path)
    assert prediction.shape == (3, N_GENES)


def test_cells_that_lack_genes_prove_nothing(tmp_path: Path) -> None:
    labels, values = cells_of("log1p")
    prediction, _ = read(labels, values[:, 100:], tmp_path, genes=GENES[100:])
    np.testing.assert_allclose(prediction[:, 100:], means("log1p")[:, 100:], rtol=1e-13)


LEGITIMATE: dict[str, np.ndarray] = {
    "the truth": means("log1p"),
    "no change": np.tile(Y0, (3, 1)),
    "another mean": np.tile(means("log1p").mean(axis=0), (3, 1)),
    "shifted": means("log1p") + 2.0,
    "shifted down": means("log1p") - 1.0,
    "drawn to the middle": 0.3 * means("log1p") + 0.7 * means("log1p").mean(),
    "half of each gene's noise": means("log1p") + rng.normal(0, 0.5, (3, N_GENES)),
    "too strong a change": Y0 + 3 * (means("log1p") - Y0),
    "another order": np.tile(Y0[::-1], (3, 1)),
}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_predictions_however_bad_are_not_taken_for_another_scale(name: str, tmp_path: Path) -> None:
    prediction, notes = read(QUERIES, LEGITIMATE[name], tmp_path)
    assert np.array_equal(prediction, LEGITIMATE[name])
    assert not [note for note in notes if "scale" in note]


def test_rows_that_are_like_nothing_are_noted(tmp_path: Path) -> None:
    """As where the genes are not those that they are called."""
    values = np.array([np.random.default_rng(1).permutation(row) for row in means("log1p")])
    words = "the rows of p.h5ad are not similar to the mean of the controls"
    assert [note for note in read(QUERIES, values, tmp_path)[1] if note.startswith(words)]
    assert not [note for note in read(QUERIES, values, tmp_path, "mean")[1] if note.startswith(words)]


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("linear", "do not look like logarithms"),
        ("log10", r"on another scale than log1p of counts per 10 000.*the slope of the line through the genes 0\.4\d,"),
        ("million", "logarithms of another base or total"),
    ],
)
def test_means_of_another_scale_are_refused_where_it_can_be_told(scale: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(QUERIES, means(scale), tmp_path)
    if scale != "million":
        assert np.array_equal(read(QUERIES, means(scale), tmp_path, "mean")[0], means(scale))


def test_values_without_a_logarithm_are_refused_at_any_level(tmp_path: Path) -> None:
    for divisor in (30.0, 100.0, 1000.0):
        values = np.expm1(means("log1p")) / divisor
        with pytest.raises(DataError, match=r"do not look like logarithms|look like counts|another scale"):
            read(QUERIES, values, tmp_path)


@pytest.mark.parametrize("scale", ["median", "log2"])
def test_means_that_may_be_of_another_scale_are_noted(scale: str, tmp_path: Path) -> None:
    prediction, notes = read(QUERIES, means(scale), tmp_path)
    assert np.array_equal(prediction, means(scale))
    assert [note for note in notes if "may be on another scale than the dataset" in note]


def test_the_mean_of_the_controls_in_the_file_shows_another_scale(tmp_path: Path) -> None:
    values = np.vstack([SCALES["median"](COUNTS["control"]).mean(axis=0), means("log1p")])
    _, notes = read(["control", *QUERIES], values, tmp_path)
    assert any("the mean of its own controls has 0.7" in note for note in notes)
    values[0] = Y0 + 0.01
    assert not [note for note in read(["control", *QUERIES], values, tmp_path)[1] if "scale" in note]


def test_a_row_of_another_scale_than_the_others_is_named(tmp_path: Path) -> None:
    values = means("log1p")
    values[1] = np.expm1(values[1]) / 200
    with pytest.raises(DataError, match=r"different scales.*perturbation 'B'.*gene 'G\d+'"):
        read(QUERIES, values, tmp_path)


def test_counts_among_logarithms_are_named_with_row_and_column(tmp_path: Path) -> None:
    labels, values = cells_of("log1p")
    values[30] = np.minimum(COUNTS["B"][6], 8)
    with pytest.raises(DataError, match=r"holds 8 for the perturbation 'B', gene 'G\d+' \(row 'row30' of X\).*mixed"):
        read(labels, values, tmp_path)
    values[30, 7] = 40.0
    with pytest.raises(DataError, match=r"40 for the perturbation 'B', gene 'G7' \(row 'row30' of X\).*like counts"):
        read(labels, values, tmp_path)


def test_changes_of_cells_are_refused_and_read_when_they_are_said_to_be(tmp_path: Path) -> None:
    labels, values = cells_of("log1p")
    with pytest.raises(DataError, match=r"changes from the control.*--prediction-kind change"):
        read(labels, values - Y0, tmp_path)
    prediction, notes = read(labels, values - Y0, tmp_path, "change")
    np.testing.assert_allclose(prediction, means("log1p"), rtol=0, atol=1e-12)
    assert "the rows of p.h5ad are changes: the mean of the controls was added" in notes


def test_changes_that_lead_beyond_any_logarithm_are_refused(tmp_path: Path) -> None:
    values = means("log1p") - Y0
    values[2, 5] = 30.0
    with pytest.raises(DataError, match="the change of the perturbation 'C', gene 'G5', with the mean of the controls"):
        read(QUERIES, values, tmp_path, "change")


def test_a_perturbation_that_moves_the_strongest_genes_is_no_scale_of_its_own(tmp_path: Path) -> None:
    """Its correlation with the expm1 of the control mean is 0.05 above that with the mean itself."""
    values, unlogged = means("log1p"), np.expm1(Y0)
    values[0] = 0.58 * Y0 + 0.42 * unlogged * Y0.sum() / unlogged.sum()
    assert 0.03 < np.corrcoef(values[0], unlogged)[0, 1] - np.corrcoef(values[0], Y0)[0, 1] < 0.1
    assert np.array_equal(read(QUERIES, values, tmp_path)[0], values)
