"""The models as files: arrays without pickled objects, and names as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pertharness_baselines.linear import LinearModel
from pertharness_baselines.slots import Side

_ARRAYS, _NAMES = "arrays.npz", "names.json"
_SPARSE = ("data", "indices", "indptr", "shape")
"""Parts of a sparse matrix among the arrays, each after the name of the matrix and a point."""


def save_vector(model: np.ndarray, folder: Path) -> None:
    """Write the one prediction of a model, shape (n_genes,)."""
    _write(folder, {"mean": model}, {})


def load_vector(folder: Path) -> np.ndarray:
    """Return what `save_vector` wrote."""
    arrays, _ = _read(folder)
    return arrays["mean"]


def save_additive(model: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write the means of the control and of the singles, a row each."""
    _write(folder, {"means": np.array(list(model.values()))}, {"labels": list(model)})


def load_additive(folder: Path) -> dict[str, np.ndarray]:
    """Return what `save_additive` wrote."""
    arrays, names = _read(folder)
    return dict(zip(names["labels"], arrays["means"], strict=True))


def save_linear(model: LinearModel, folder: Path) -> None:
    """Write the matrices of a linear model, which may be sparse, and the labels that have a row in P."""
    arrays = {
        **_parts("gene", model.gene), **_parts("perturbation", model.perturbation.values),
        "covered": model.covered, "weights": model.weights, "offset": model.offset,
    }  # fmt: skip
    _write(folder, arrays, {"rows": model.perturbation.rows, "lack": model.perturbation.lack})


def load_linear(folder: Path) -> LinearModel:
    """Return what `save_linear` wrote."""
    arrays, names = _read(folder)
    perturbation = Side(_matrix("perturbation", arrays), names["rows"], names["lack"])
    return LinearModel(
        _matrix("gene", arrays), arrays["covered"], perturbation, arrays["weights"], arrays["offset"]
    )  # fmt: skip


def _parts(name: str, matrix: Any) -> dict[str, np.ndarray]:
    """Return a dense or sparse matrix as arrays."""
    if isinstance(matrix, np.ndarray):
        return {name: matrix}
    rows = matrix.tocsr()
    return {f"{name}.{part}": np.asarray(getattr(rows, part)) for part in _SPARSE}


def _matrix(name: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the matrix that `_parts` took apart."""
    from scipy import sparse

    if name in arrays:
        return arrays[name]
    *parts, shape = (arrays[f"{name}.{part}"] for part in _SPARSE)
    return sparse.csr_matrix(tuple(parts), shape=tuple(shape))


def _write(folder: Path, arrays: Mapping[str, np.ndarray], names: Mapping[str, Any]) -> None:
    with (folder / _ARRAYS).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy takes the keyword allow_pickle for one of the arrays
    (folder / _NAMES).write_text(json.dumps(names), encoding="utf-8")


def _read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
        values = dict(arrays)
    names: dict[str, Any] = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
    return values, names
