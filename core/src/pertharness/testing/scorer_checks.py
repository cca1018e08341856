"""Checks of a scorer on planted data: identities that every metric of a prediction has to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pertharness.cards import MetricOffer, ScorerOffer
from pertharness.errors import ContractError, Skip
from pertharness.jobs import Task
from pertharness.labels import CONTROL, join_targets, targets_of
from pertharness.testing.planted import DOUBLES, SINGLES, planted_means
from pertharness.testing.subject import Once, Subject

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

TOLERANCE = 1e-9
"""Relative and absolute: what sums in another order leave."""
BEST_TOLERANCE = 1e-6
QUERIES = (*SINGLES[:4], *DOUBLES[:3])
SMALL, LARGE = 0.02, 1.0
"""Standard deviations of the noise on two predictions, log1p CP10k; the planted effects lie between."""
OF_A_PREDICTION = ("perturbation", "gene", "task")
"""Levels whose value says how good a prediction is; entries, curves and datasets have values of other kinds."""
PARTIAL = ("common-genes", "published-code")
"""Variants that leave missing genes out by definition (docs/metrics.md)."""


@dataclass(frozen=True)
class Scene:
    """The arguments of ``score`` that hold data, all of them means."""

    truth: AnnData
    prediction: AnnData
    controls: AnnData
    train: AnnData
    screen: AnnData


class ScorerTrial:
    """A scorer, and planted means to score."""

    def __init__(self, subject: Subject, offer: ScorerOffer, part: str = "") -> None:
        self.subject, self.offer = subject, offer
        self.metrics = {metric.id: metric for metric in offer.metrics}
        self.scene = self.make_scene()
        self.noisy = Once(self._noisy, "table")
        self.steady = Once(self._steady, "same_values")

    def make_scene(self, noise: float = SMALL) -> Scene:
        """Give a truth and a prediction off by noise; for a scorer that calibrates, the truth with halves."""
        scene = _make_scene(noise)
        return _with_halves(scene) if self.offer.calibrates else scene

    def _noisy(self) -> pd.Series:
        """Give the values of a prediction near the truth, where every metric has some."""
        values = self.scores(self.scene)
        silent = sorted({*self.metrics} - {*values.index.get_level_values("metric")})
        if silent:
            what = f"the metric {silent[0]!r} has no value for a prediction near the truth"
            raise ContractError(f"{what}; expected finite ones")
        return values

    def _steady(self) -> pd.Series:
        """Give the values of a prediction near the truth, where they are the same the second time."""
        values = self.noisy()
        _same(values, self.scores(self.scene), "scored twice with one seed")
        return values

    def scores(self, scene: Scene) -> pd.Series:
        """Score, and give the values by perturbation, gene, metric, variant and coordinate; undefined ones left out.

        Raises
        ------
        ContractError
            If the table does not keep the contract.
        """
        from pertharness.scores import COLUMNS
        from pertharness.worker.score_checks import check_scores

        given = self.subject.hook("score", self.offer.name)(
            name=self.offer.name, truth=scene.truth.copy(), prediction=scene.prediction.copy(),
            controls=scene.controls.copy(), train=scene.train.copy(), screen=scene.screen.copy(),
            references={}, task=_TASK, params=self.offer.params, seed=1,
        )  # fmt: skip
        queries = [str(label) for label in scene.truth.obs["perturbation"]]
        table = check_scores(given, self.offer, queries, self.subject.ref.name).fillna({"gene": "", "coordinate": ""})
        values: pd.Series = table.set_index(list(COLUMNS[:-1]))["value"].astype(float)
        return values.dropna()

    def judged(self, values: pd.Series) -> list[tuple[MetricOffer, str, np.ndarray]]:
        """Give metric, variant and values of all that says how good a prediction is.

        Raises
        ------
        Skip
            If no metric does.
        """
        chosen = [metric for metric in self.offer.metrics if metric.level in OF_A_PREDICTION]
        if not chosen:
            raise Skip(f"no metric is of the level {', '.join(OF_A_PREDICTION)}")
        index = values.index
        found = []
        for metric in chosen:
            for variant in metric.variants:
                mine = (index.get_level_values("metric") == metric.id) & (index.get_level_values("variant") == variant)
                found.append((metric, variant, values[mine].to_numpy()))
        return found


_TASK = Task(dataset="planted", name="double", split_kind="double", split_seed=1, modality="crispra")


def _make_scene(noise: float = SMALL) -> Scene:
    """Give a truth, and a prediction that is the truth with noise; 0: the truth itself."""
    from pertharness.canonical import select
    from pertharness.predictions import make_prediction

    means = planted_means()
    truth = select(means, list(QUERIES))
    truth.var["common"] = True  # no compared model lacks a gene
    labels = [label for label in means.obs["perturbation"] if label not in QUERIES]
    draws = np.random.default_rng(5).normal(size=truth.shape)
    values = np.asarray(truth.X) + noise * draws
    prediction = make_prediction(dict(zip(truth.obs["perturbation"], values, strict=True)), truth.var_names)
    return Scene(truth, prediction, select(means, [CONTROL]), select(means, labels), means)


def _with_halves(scene: Scene) -> Scene:
    """Give the scene of a run that calibrates, with noise of the means far below that of the predictions."""
    truth, screen = scene.truth.copy(), scene.screen.copy()
    for means in (truth, screen):
        for i, name in enumerate(("half_a", "half_b")):
            draws = np.random.default_rng(8 + i).normal(size=means.shape)
            means.layers[name] = np.asarray(means.X) + SMALL / 10 * draws
        n_cells = means.obs["n_cells"].to_numpy(dtype=float)[:, None]
        means.layers["variance"] = np.broadcast_to(n_cells * (SMALL / 10) ** 2, means.shape).copy()
    return replace(scene, truth=truth, screen=screen)


def _map(scene: Scene, change: Callable[[AnnData], AnnData]) -> Scene:
    """Do the same to all data."""
    parts = (scene.truth, scene.prediction, scene.controls, scene.train, scene.screen)
    return Scene(*map(change, parts))


def _renamed(adata: AnnData) -> AnnData:
    """Give every gene another name, in reverse alphabetical order, and every perturbation the label that follows."""
    new = _new_names(adata)
    renamed = adata.copy()
    renamed.obs["perturbation"] = [_relabel(str(label), new) for label in adata.obs["perturbation"]]
    renamed.var_names = [new[gene] for gene in adata.var_names]
    return renamed


def _new_names(adata: AnnData) -> dict[str, str]:
    genes = sorted(map(str, adata.var_names), reverse=True)
    return {gene: f"GENE{i:03d}" for i, gene in enumerate(genes)}


def _relabel(label: str, new: dict[str, str]) -> str:
    return join_targets(new[target] for target in targets_of(label))


def _same(one: pd.Series, other: pd.Series, what: str) -> None:
    """Hold two sets of values against each other."""
    odd = one.index.symmetric_difference(other.index)
    if len(odd):
        raise ContractError(f"{what}: there is a value once and none once for {_told(odd[0])}")
    differ = ~np.isclose(one, other.reindex(one.index), rtol=TOLERANCE, atol=TOLERANCE)
    if differ.any():
        first = one.index[differ][0]
        raise ContractError(f"{what}: {_told(first)} is {one[first]!r} and then {other[first]!r}; expected the same")


def _told(index: tuple[str, ...]) -> str:
    perturbation, gene, metric, variant, coordinate = index
    where = [repr(part) for part in (perturbation, gene, coordinate) if part != ""]
    return f"{metric} ({variant})" + (f" of {', '.join(where)}" if where else "")


def check_table(trial: ScorerTrial) -> None:
    """A good prediction gets finite values in long form, of the metrics and variants on the card and no others."""
    trial.noisy()


def check_perfect(trial: ScorerTrial) -> None:
    """A perfect prediction gets the best value that the card names."""
    trial.noisy()
    judged = [one for one in trial.judged(trial.scores(trial.make_scene(0.0))) if one[0].best is not None]
    if not judged:
        raise Skip("no metric has a best value")
    for metric, variant, values in judged:
        off = np.abs(values - metric.best)
        if not len(values) or off.max() > BEST_TOLERANCE:
            got = f"{values[off.argmax()]!r}" if len(values) else "no value"
            raise ContractError(
                f"{metric.id} ({variant}) gives {got} for a perfect prediction, the card says best is {metric.best!r}"
            )


def check_direction(trial: ScorerTrial) -> None:
    """A prediction with more noise is not better, in the direction that the card names."""
    trial.noisy()
    near, far = trial.judged(trial.noisy()), trial.judged(trial.scores(trial.make_scene(LARGE)))
    for (metric, variant, good), (_, _, bad) in zip(near, far, strict=True):
        sign = 1.0 if metric.direction == "higher" else -1.0
        if len(good) and len(bad) and sign * bad.mean() > sign * good.mean() + TOLERANCE:
            raise ContractError(
                f"{metric.id} ({variant}): {metric.direction} is better, and noise of {LARGE} gives {bad.mean():.4g}, "
                f"of {SMALL} {good.mean():.4g}"
            )


def check_relabelled(trial: ScorerTrial) -> None:
    """Genes and perturbations under other names get the same values."""
    values = trial.steady().copy()
    new = _new_names(trial.scene.truth)
    told = [(_relabel(p, new) if p else "", new.get(g, g), *rest) for p, g, *rest in values.index]
    values.index = type(values.index).from_tuples(told, names=values.index.names)
    _same(values, trial.scores(_map(trial.scene, _renamed)), "under other names")


def check_row_order(trial: ScorerTrial) -> None:
    """The order of the rows does not matter, and truth and prediction need not have the same."""
    values, scene = trial.steady(), trial.scene
    rng = np.random.default_rng(6)
    truth, prediction = (a[rng.permutation(a.n_obs)].copy() for a in (scene.truth, scene.prediction))
    _same(
        values,
        trial.scores(replace(scene, truth=truth, prediction=prediction, train=scene.train[::-1].copy())),
        "rows in another order",
    )


def check_gene_order(trial: ScorerTrial) -> None:
    """The order of the genes does not matter."""
    order = np.random.default_rng(7).permutation(trial.scene.truth.n_vars)
    _same(trial.steady(), trial.scores(_map(trial.scene, lambda a: a[:, order].copy())), "genes in another order")


def check_same_values(trial: ScorerTrial) -> None:
    """The same seed gives the same values."""
    trial.steady()


def check_nan(trial: ScorerTrial) -> None:
    """NaN in, no number out: a query with missing values has no score, whether some or all of them are missing."""
    trial.noisy()
    query = QUERIES[0]
    for share, what in ((1, "all values"), (2, "half of the values")):
        prediction = trial.scene.prediction.copy()
        row = list(prediction.obs["perturbation"]).index(query)
        prediction.X[row, ::share] = np.nan
        values = trial.scores(replace(trial.scene, prediction=prediction))
        _no_number(values, query, f"{what} predicted for {query!r} are NaN", PARTIAL if share > 1 else ())


def _no_number(values: pd.Series, query: str, what: str, excused: tuple[str, ...] = ()) -> None:
    """Refuse a value of a query."""
    index = values.index
    found = (index.get_level_values("perturbation") == query) & ~index.get_level_values("variant").isin(excused)
    if found.any():
        raise ContractError(
            f"{what}, and {_told(index[found][0])} is {values[found].iloc[0]!r}; expected NaN or no row"
        )


def check_unanswered(trial: ScorerTrial) -> None:
    """A query without an answer gets no number, and the others get theirs."""
    trial.noisy()
    scene, query = trial.scene, QUERIES[1]
    kept = scene.prediction[(scene.prediction.obs["perturbation"] != query).to_numpy()].copy()
    values = trial.scores(replace(scene, prediction=kept))
    _no_number(values, query, f"{query!r} is not answered")
    if trial.metrics and not len(values):
        raise ContractError(f"{query!r} is not answered, and no other query has a value either")


SCORER_CHECKS: dict[str, Callable[[ScorerTrial], None]] = {
    "table": check_table, "perfect": check_perfect, "direction": check_direction, "same_values": check_same_values,
    "relabelled": check_relabelled, "row_order": check_row_order, "gene_order": check_gene_order, "nan": check_nan,
    "unanswered": check_unanswered,
}  # fmt: skip
