"""A prediction as the file that a user gets: means, provenance, and errors of the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.host.run.prediction_errors import as_frame

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from pertharness.host.run.predict import PredictedQueries

SCALE = "log1p CP10k"


def as_adata(predicted: PredictedQueries) -> AnnData:
    """Return a prediction with its provenance.

    Returns
    -------
    AnnData
        Shape (n_answered, n_genes), float64, log1p of counts per 10 000; ``obs["perturbation"]``, ``obs["query"]`` (as
        it was written) and ``obs["measured"]``, in the order of the queries; ``uns["pertharness"]``.
    """
    import pandas as pd
    from anndata import AnnData

    means = predicted.means
    rows = {str(label): row for row, label in enumerate(means.obs["perturbation"])}
    written: dict[str, str] = {}
    for query, perturbation in predicted.queries.items():
        written.setdefault(perturbation, query)
    answered = [label for label in written if label in rows]
    obs = pd.DataFrame(
        {
            "perturbation": answered,
            "query": [written[label] for label in answered],
            "measured": np.array([label in predicted.measured for label in answered], dtype=bool),
        },
        index=pd.Index(answered, dtype=object),
    )
    values = means.X[[rows[label] for label in answered]]
    return AnnData(X=values, obs=obs, var=means.var[[]].copy(), uns={"pertharness": _facts(predicted, written)})


def _facts(predicted: PredictedQueries, written: dict[str, str]) -> dict[str, Any]:
    """Return the provenance of a prediction, in types that every version of anndata reads."""
    import pandas as pd

    job = predicted.job
    parts = job.key_parts.plugin if job.key_parts else {}
    unanswered = [(label, predicted.status.unanswered[label]) for label in written if _lacks(predicted, label)]
    return {
        "model": predicted.model, "plugin": job.plugin.name, "plugin_version": parts.get("version", job.plugin.version),
        "params": json.dumps(job.params, sort_keys=True), "seed": job.seed, "device": job.device,
        "record": predicted.key, "model_record": str(job.options.get("model_record", "")), "scale": SCALE,
        "dataset": predicted.dataset, "trained_on": predicted.trained_on, "notes": "\n".join(predicted.notes),
        "unanswered": pd.DataFrame(unanswered, columns=["perturbation", "reason"], dtype=object),
        "errors": as_frame(predicted.errors),
    }  # fmt: skip


def _lacks(predicted: PredictedQueries, label: str) -> bool:
    return label in predicted.status.unanswered


def write_prediction(adata: AnnData, path: Path) -> None:
    """Write a prediction atomically, in encodings that anndata 0.9 reads."""
    from pertharness.data.expression import write

    path.parent.mkdir(parents=True, exist_ok=True)
    write(adata, path)
