"""From embeddings of conditions to their expression, by ridge regression on the training conditions; and two controls.

For models that embed cells and do not predict expression: the embedding of a condition is one vector, such as the mean
over its cells. The same decoder on random numbers, and on the embeddings of other perturbations, shows what the
model's own embedding adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pertharness import CONTROL, DataError, Skip
from pydantic import Field

from pertharness_foundation.ridge import ALPHA, fit_ridge
from pertharness_foundation.settings import Strict

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

Embedding = Literal["model", "random", "permuted"]
_STAND_INS: Mapping[str, str] = {
    "random": "random numbers of the size and norms of the model's embedding take its place",
    "permuted": "the model's embeddings are permuted over the perturbations",
}
_MEANS, _VECTORS = "decoder.means", "decoder.embeddings"


class Decoding(Strict):
    """Parameters of the decoder: a group in the settings of a model, ``decoding: Decoding = Decoding()``."""

    embedding: Embedding = Field(
        "model",
        description=(
            "what the decoder reads: the model's embedding of a condition, or as controls for it random numbers of the "
            "same size and norms, or the embeddings permuted over perturbations"
        ),
    )
    ridge: float = Field(ALPHA, gt=0, description="penalty of the decoder; the published one is scikit-learn's default")


@dataclass(frozen=True)
class Conditions:
    """The training conditions, control among them.

    Attributes
    ----------
    labels
        Sorted, so that nothing depends on the order of the cells.
    means
        Mean expression over the cells of each, log1p CP10k, float64, shape (n_conditions, n_genes).
    embeddings
        Condition -> vector, shape (n_dimensions,); those that the model cannot embed are absent.
    """

    labels: tuple[str, ...]
    means: np.ndarray
    embeddings: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, train: AnnData, embeddings: Mapping[str, np.ndarray]) -> Conditions:
        """Return the conditions of training data, as ``fit`` gets them, with what the model made of them."""
        from pertharness.data.canonical import pseudobulk

        averaged = pseudobulk(train)
        names = [str(label) for label in averaged.obs_names]
        order = np.argsort(np.array(names, dtype=object), kind="stable")
        means = np.asarray(averaged.X, dtype=np.float64)[order]
        return cls(tuple(names[row] for row in order), means, dict(embeddings))

    def tensors(self) -> dict[str, Tensor]:
        """Return what `pertharness_foundation.saved.save_weights` writes beside the model's tensors."""
        import torch

        vectors = [self.embeddings[label] for label in self._embedded()]
        table = np.array(vectors, dtype=np.float64) if vectors else np.empty((0, 0))
        return {_MEANS: torch.from_numpy(np.ascontiguousarray(self.means)), _VECTORS: torch.from_numpy(table)}

    def facts(self) -> dict[str, Any]:
        """Return what `pertharness_foundation.saved.save_weights` writes as JSON."""
        return {"labels": list(self.labels), "embedded": self._embedded()}

    @classmethod
    def of_saved(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Conditions:
        """Return the conditions that `tensors` and `facts` were made of."""
        vectors = dict(zip(facts["embedded"], tensors[_VECTORS].numpy(), strict=True))
        return cls(tuple(facts["labels"]), tensors[_MEANS].numpy(), vectors)

    def _embedded(self) -> list[str]:
        return [label for label in self.labels if label in self.embeddings]


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of the queries.

    Attributes
    ----------
    means
        Query -> predicted mean expression, log1p CP10k, float64, shape (n_genes,); a query without an embedding is
        absent, and the model gives the reason.
    notes
        Lines for the record: how many conditions had an embedding, and which stand-in was decoded, if any.
    """

    means: Mapping[str, np.ndarray]
    notes: tuple[str, ...]


def decode(
    conditions: Conditions, embeddings: Mapping[str, np.ndarray], queries: Sequence[str], decoding: Decoding, seed: int
) -> Decoded:
    """Fit the decoder on the training conditions, and predict the queries.

    Parameters
    ----------
    embeddings
        Query -> vector, shape (n_dimensions,); those that the model cannot embed are absent.
    queries
        All that are asked; their order changes nothing.
    seed
        Of the job; for the stand-ins.

    Raises
    ------
    Skip
        If fewer than two training conditions have an embedding.
    DataError
        If embeddings are of different sizes, or have an entry that is no number.
    """
    known = [label for label in conditions.labels if label in conditions.embeddings]
    answered = [query for query in queries if query in embeddings]
    if len(known) < 2:
        raise Skip(
            f"the model has an embedding of {len(known)} of the {len(conditions.labels)} training conditions; the "
            "decoder needs at least two"
        )
    vectors = {label: conditions.embeddings[label] for label in known} | {
        query: embeddings[query] for query in answered
    }
    _check_vectors(vectors)
    vectors = stand_in(vectors, decoding.embedding, seed)
    is_known = np.array([label in conditions.embeddings for label in conditions.labels])
    ridge = fit_ridge(np.array([vectors[label] for label in known]), conditions.means[is_known], decoding.ridge)
    rows: Iterable[np.ndarray] = ridge.predict(np.array([vectors[query] for query in answered])) if answered else ()
    notes = _notes(conditions.labels, known, queries, answered, decoding)
    return Decoded(dict(zip(answered, rows, strict=True)), notes)


def stand_in(embeddings: Mapping[str, np.ndarray], kind: Embedding, seed: int) -> dict[str, np.ndarray]:
    """Return the embeddings that are decoded: the model's own, or those of a control for it.

    Parameters
    ----------
    embeddings
        Condition -> vector, of training conditions and queries.
    kind
        ``model``: unchanged. ``random``: normal numbers, each vector scaled to the norm of the model's, because the
        penalty of the decoder makes the scale matter; they depend on the seed and the label alone. ``permuted``: each
        perturbation gets the vector of another or, by chance, its own; the control keeps its own.
    """
    if kind == "model":
        return dict(embeddings)
    if kind == "random":
        return {label: _random_like(vector, label, seed) for label, vector in embeddings.items()}
    labels = sorted(label for label in embeddings if label != CONTROL)
    order = np.random.default_rng(seed).permutation(len(labels))
    return dict(embeddings) | {label: embeddings[labels[row]] for label, row in zip(labels, order, strict=True)}


def _random_like(vector: np.ndarray, label: str, seed: int) -> np.ndarray:
    """Return a random vector of the size and norm of another one."""
    drawn = np.random.default_rng([seed, *label.encode()]).normal(size=len(vector))
    scaled: np.ndarray = drawn * (np.linalg.norm(vector) / np.linalg.norm(drawn))
    return scaled


def _check_vectors(vectors: Mapping[str, np.ndarray]) -> None:
    """Raise DataError for the first embedding that is no vector of numbers of the size of the others."""
    first = next(iter(vectors))
    for label, vector in vectors.items():
        if np.ndim(vector) != 1 or np.shape(vector) != np.shape(vectors[first]):
            raise DataError(
                f"the embedding of {label!r} has the shape {np.shape(vector)}, that of {first!r} "
                f"{np.shape(vectors[first])}; expected one vector per condition, all of the same size"
            )
        if not np.isfinite(vector).all():
            raise DataError(f"the embedding of {label!r} has an entry that is no number; the decoder needs numbers")


def _notes(
    labels: Sequence[str], known: Sequence[str], queries: Sequence[str], answered: Sequence[str], decoding: Decoding
) -> tuple[str, ...]:
    notes = [f"decoder: fitted on {len(known)} of {len(labels)} training conditions"]
    if lost := [label for label in labels if label not in set(known)]:
        notes[0] += f"; the model has no embedding of {len(lost)}, such as {lost[0]!r}"
    if left := len(queries) - len(answered):
        notes.append(f"decoder: {left} of {len(queries)} queries have no embedding, and are not answered")
    if decoding.embedding != "model":
        notes.append(f"decoder: {_STAND_INS[decoding.embedding]}, as a control")
    return tuple(notes)
