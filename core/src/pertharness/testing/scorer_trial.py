"""Run a scorer on planted means, and rename or reorder these."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pertharness.contract.cards import MetricOffer, ScorerOffer
from pertharness.contract.errors import ContractError, Skip
from pertharness.contract.jobs import Task
from pertharness.contract.labels import CONTROL, join_targets, targets_of
from pertharness.testing.model_trial import SEED
from pertharness.testing.planted import DOUBLES, SINGLES, planted_means
from pertharness.testing.subject import Once, Subject
from pertharness.worker.digests import changed_arguments, digest_arguments
from pertharness.worker.score_checks import check_scores

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

TOLERANCE = 1e-9
"""Relative and absolute tolerance for sums in another order."""
QUERIES = (*SINGLES[:4], *DOUBLES[:3])
SMALL, LARGE = 0.02, 1.0
"""Standard deviations of the noise of two predictions, log1p CP10k; planted effects are between them."""
OF_A_PREDICTION = ("perturbation", "gene", "task")
"""Levels of values that rate a prediction; entries, curves and datasets have other kinds of values."""


@dataclass(frozen=True)
class Scene:
    """The arguments of ``score`` with data, which are all means."""

    truth: AnnData
    prediction: AnnData
    controls: AnnData
    train: AnnData
    screen: AnnData


class ScorerTrial:
    """A scorer, with planted means to score."""

    def __init__(self, subject: Subject, offer: ScorerOffer, part: str = "") -> None:
        self.subject, self.offer = subject, offer
        self.metrics = {metric.id: metric for metric in offer.metrics}
        self.scene = self.make_scene()
        self.raw = Once(lambda: self.call(self.scene), "table")
        self.noisy = Once(self._noisy, "table")
        self.steady = Once(self._steady, "same_values")

    def make_scene(self, noise: float = SMALL, seed: int = 0) -> Scene:
        """Return a truth and a prediction with noise; the truth has halves if the scorer calibrates."""
        scene = _make_scene(noise, seed)
        return _with_halves(scene) if self.offer.calibrates else scene

    def _noisy(self) -> pd.Series:
        """Return the values of a prediction near the truth; raise an error if a metric has none."""
        values, _ = self.raw()
        silent = sorted({*self.metrics} - {*values.index.get_level_values("metric")})
        if silent:
            problem = f"the metric {silent[0]!r} has no value for a prediction near the truth"
            raise ContractError(f"{problem}; expected finite ones")
        return values

    def _steady(self) -> pd.Series:
        """Return the values of a prediction near the truth; raise an error if a second call gives others."""
        values = self.noisy()
        refuse_others(values, self.scores(self.scene), "scored twice with one seed")
        return values

    def call(
        self, scene: Scene, seed: int = SEED, params: Mapping[str, Any] | None = None
    ) -> tuple[pd.Series, list[str]]:
        """Score, and return the values without NaN, and the names of changed arguments.

        The index of the values has perturbation, gene, metric, variant and coordinate.

        Raises
        ------
        ContractError
            If the table breaks the contract.
        """
        from pertharness.contract.scores import COLUMNS

        arguments = {field.name: getattr(scene, field.name).copy() for field in fields(scene)}
        arguments |= {"references": {}, "params": copy.deepcopy(dict(params or self.offer.params))}
        before = digest_arguments(arguments)
        answer = self.subject.hook("score", self.offer.name, guarded=False)(
            name=self.offer.name, task=_TASK, seed=seed, **arguments
        )
        queries = [str(label) for label in scene.truth.obs["perturbation"]]
        table = check_scores(answer, self.offer, queries, self.subject.ref.name).fillna({"gene": "", "coordinate": ""})
        values: pd.Series = table.set_index(list(COLUMNS[:-1]))["value"].astype(float)
        return values.dropna(), changed_arguments(before, arguments)

    def scores(self, scene: Scene) -> pd.Series:
        """Score, and return the values without NaN."""
        return self.call(scene)[0]

    def judged(self, values: pd.Series) -> list[tuple[MetricOffer, str, np.ndarray]]:
        """Return metric, variant and values for all metrics that rate a prediction.

        Raises
        ------
        Skip
            If there is no such metric.
        """
        chosen = [metric for metric in self.offer.metrics if metric.level in OF_A_PREDICTION]
        if not chosen:
            raise Skip(f"no metric is of the level {', '.join(OF_A_PREDICTION)}")
        metrics, variants = values.index.get_level_values("metric"), values.index.get_level_values("variant")
        judged = []
        for metric in chosen:
            for variant in metric.variants:
                is_selected = (metrics == metric.id) & (variants == variant)
                judged.append((metric, variant, values[is_selected].to_numpy()))
        return judged


_TASK = Task(dataset="planted", name="double", split_kind="double", split_seed=1, modality="crispra")


def _make_scene(noise: float = SMALL, seed: int = 0) -> Scene:
    """Return a truth, and a prediction that is the truth plus noise."""
    from pertharness.contract.predictions import make_prediction
    from pertharness.data.canonical import select

    means = planted_means(seed)
    truth = select(means, list(QUERIES))
    truth.var["common"] = True  # all models predict all genes
    labels = [label for label in means.obs["perturbation"] if label not in QUERIES]
    draws = np.random.default_rng(5).normal(size=truth.shape)
    values = np.asarray(truth.X) + noise * draws
    prediction = make_prediction(dict(zip(truth.obs["perturbation"], values, strict=True)), truth.var_names)
    return Scene(truth, prediction, select(means, [CONTROL]), select(means, labels), means)


def _with_halves(scene: Scene) -> Scene:
    """Return the scene with halves, whose noise is far below that of the prediction."""
    truth, screen = scene.truth.copy(), scene.screen.copy()
    for means in (truth, screen):
        for i, name in enumerate(("half_a", "half_b")):
            draws = np.random.default_rng(8 + i).normal(size=means.shape)
            means.layers[name] = np.asarray(means.X) + SMALL / 10 * draws
        n_cells = means.obs["n_cells"].to_numpy(dtype=float)[:, None]
        means.layers["variance"] = np.broadcast_to(n_cells * (SMALL / 10) ** 2, means.shape).copy()
    return replace(scene, truth=truth, screen=screen)


def map_data(scene: Scene, change: Callable[[AnnData], AnnData]) -> Scene:
    """Return the scene with a function applied to all its data."""
    parts = (scene.truth, scene.prediction, scene.controls, scene.train, scene.screen)
    return Scene(*map(change, parts))


def rename(adata: AnnData) -> AnnData:
    """Return the data with new names of genes, in reverse alphabetical order, and matching perturbations."""
    new = new_names(adata)
    renamed = adata.copy()
    renamed.obs["perturbation"] = [relabel(str(label), new) for label in adata.obs["perturbation"]]
    renamed.var_names = [new[gene] for gene in adata.var_names]
    return renamed


def new_names(adata: AnnData) -> dict[str, str]:
    """Return a new name for each gene, in reverse alphabetical order."""
    genes = sorted(map(str, adata.var_names), reverse=True)
    return {gene: f"GENE{i:03d}" for i, gene in enumerate(genes)}


def relabel(label: str, new: dict[str, str]) -> str:
    """Return the label of a perturbation with renamed targets."""
    return join_targets(new[target] for target in targets_of(label))


def refuse_others(first: pd.Series, second: pd.Series, change: str) -> None:
    """Raise an error if two sets of values differ."""
    unmatched = first.index.symmetric_difference(second.index)
    if len(unmatched):
        raise ContractError(f"{change}: there is a value once and none once for {name_of_value(unmatched[0])}")
    differ = ~np.isclose(first, second.reindex(first.index), rtol=TOLERANCE, atol=TOLERANCE)
    if differ.any():
        key = first.index[differ][0]
        raise ContractError(
            f"{change}: {name_of_value(key)} is {first[key]!r} and then {second[key]!r}; expected the same"
        )


def name_of_value(index: tuple[str, ...]) -> str:
    """Return the metric of a value, with its perturbation, gene and coordinate, for messages."""
    perturbation, gene, metric, variant, coordinate = index
    where = [repr(part) for part in (perturbation, gene, coordinate) if part != ""]
    return f"{metric} ({variant})" + (f" of {', '.join(where)}" if where else "")
