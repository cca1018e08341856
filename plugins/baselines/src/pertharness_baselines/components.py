"""Leading eigenvectors and principal components, exact, and with one choice of signs."""

from __future__ import annotations

from typing import Any

import numpy as np

DENSE = 2000
"""Up to this order a direct method (below 1 s); beyond, Lanczos iterations, whose time grows with the square only."""


def leading_eigenpairs(matrix: Any, k: int, *, semidefinite: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the `k` eigenvalues of largest magnitude, and their eigenvectors, of a symmetric matrix.

    Parameters
    ----------
    matrix
        Symmetric, dense or sparse, shape (n, n).
    k
        How many; where the matrix has fewer, those.
    semidefinite
        It has no negative eigenvalue, so that only one end of its spectrum is looked at.

    Returns
    -------
    tuple of numpy.ndarray
        Values, shape (k,), the largest magnitude first, and vectors, shape (n, k), each with its entry of largest
        magnitude positive.
    """
    from scipy import linalg, sparse
    from scipy.sparse import linalg as sparse_linalg

    n = matrix.shape[0]
    k = min(k, n)
    if n > DENSE and k < n // 2:
        # The start decides nothing but the last bits; it is fixed, so that these are the same every time. All ones
        # could be orthogonal to a wanted vector.
        start = np.random.default_rng(0).normal(size=n)
        pairs = [sparse_linalg.eigsh(matrix, k=k, which="LM", v0=start, tol=0)]
    else:
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        ends = [(n - k, n - 1)] if semidefinite else [(n - k, n - 1), (0, min(k, n - k) - 1)]
        pairs = [linalg.eigh(dense, subset_by_index=end) for end in ends if end[1] >= 0]
    values, vectors = (np.concatenate(parts, axis=-1) for parts in zip(*pairs, strict=True))
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    return values[order], fix_signs(vectors[:, order])


def fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Return the columns, each with its entry of largest magnitude positive: a decomposition leaves the sign open."""
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    fixed: np.ndarray = vectors * np.where(largest < 0, -1.0, 1.0)
    return fixed


def decompose(matrix: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and axes of the first `k` principal components, observations in rows.

    By eigenvectors of the smaller of the two products of the centred matrix with itself, which takes a fraction of the
    time of its singular value decomposition. Squaring costs no digit that counts: what is lost of a component, in units
    of the first, is about 1e-16 over the ratio of their standard deviations.

    Parameters
    ----------
    matrix
        Shape (n_observations, n_variables).
    k
        How many; where fewer exist (at most the smaller side of the matrix), those.

    Returns
    -------
    tuple of numpy.ndarray
        Scores, shape (n_observations, k), and axes, orthonormal, shape (n_variables, k).
    """
    centred = matrix - matrix.mean(axis=0)
    k = min(k, *centred.shape)
    if centred.shape[1] <= centred.shape[0]:
        axes = leading_eigenpairs(centred.T @ centred, k, semidefinite=True)[1]
        return centred @ axes, axes
    values, vectors = leading_eigenpairs(centred @ centred.T, k, semidefinite=True)
    # Where no variance is left there is no component: zeros, where a division would make rounding errors large.
    exist = values > values[0] * len(values) * np.finfo(float).eps if values.any() else np.zeros(k, dtype=bool)
    singular = np.sqrt(np.where(exist, values, 0.0))
    return vectors * singular, centred.T @ vectors / np.where(exist, singular, np.inf)


def principal_components(matrix: np.ndarray, k: int) -> np.ndarray:
    """Return the scores of the first `k` principal components, observations in rows; as many as exist if fewer do."""
    return decompose(matrix, k)[0]
