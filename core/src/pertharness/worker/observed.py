"""Read the observations that a prediction is scored against, once for all score jobs of a split.

The process that forks these jobs reads them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pertharness.contract.errors import Skip
from pertharness.contract.jobs import Job
from pertharness.contract.labels import CONTROL
from pertharness.contract.options import ScoreOptions, kind_of_score, options_of
from pertharness.worker.digests import digest
from pertharness.worker.split_file import read_split

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Observed:
    """The observations of a split.

    Attributes
    ----------
    truth, screen
        Means of the queries, and of all perturbations of the dataset, shape (n_perturbations, n_genes), log1p CP10k;
        with the layers of the halves if the job has a file of halves.
    train, controls
        Means of the training side.
    queries
        Perturbations to score, in the order of the split.
    digests
        Digests of the four datasets by name, computed before any scorer received them.
    """

    truth: AnnData
    screen: AnnData
    train: AnnData
    controls: AnnData
    queries: tuple[str, ...]
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Predicted:
    """A prediction, and its digest computed before any scorer received it."""

    prediction: AnnData
    digest: str


def read_observed(job: Job) -> Observed:
    """Return the observations that a job scores against.

    Raises
    ------
    Skip
        If the job scores against the second halves and no query has halves.
    """
    options = options_of(job, ScoreOptions)
    return _read(
        job.inputs["pseudobulk"], job.inputs["split"], job.inputs.get("halves"), options.score_on,
        against_half=kind_of_score(options) == "half",
    )  # fmt: skip


def forget_given() -> None:
    """Clear the cached data of a scorer, so that another job in the same process reads them again."""
    _read.cache_clear()
    read_predicted.cache_clear()


@functools.lru_cache(maxsize=1)
def read_predicted(path: Path) -> Predicted:
    """Return a prediction; it is cached for the jobs of all scorers."""
    from pertharness.data.canonical import read

    prediction = read(path)
    return Predicted(prediction, digest(prediction))


@functools.lru_cache(maxsize=1)
def _read(
    pseudobulk: Path, split: Path, halves: Path | None, score_on: tuple[str, ...], *, against_half: bool
) -> Observed:
    from pertharness.data.canonical import select

    means, parts = _read_means(pseudobulk), read_split(split)
    queries = tuple(query for part in score_on for query in parts[part])
    truth, screen = _compare_with(means, halves, queries, against_half=against_half)
    data = {
        "truth": truth, "screen": screen, "train": select(means, parts["train"]), "controls": select(means, [CONTROL]),
    }  # fmt: skip
    digests = {name: digest(value) for name, value in data.items()}
    return Observed(**data, queries=queries, digests=MappingProxyType(digests))


def _compare_with(
    means: AnnData, halves_path: Path | None, queries: tuple[str, ...], *, against_half: bool
) -> tuple[AnnData, AnnData]:
    """Return truth and screen.

    Both are means over all cells, with the layers of the halves if `halves_path` is given. With `against_half`, the
    truth is the mean of the second half of the cells, for all queries that have halves. The screen still has the means
    over all cells, because additive models have learnt from these.
    """
    from pertharness.data.canonical import select
    from pertharness.data.halves import against_half as second_half_of
    from pertharness.data.halves import measured_twice, with_halves

    if halves_path is None:
        return select(means, list(queries)), means.copy()
    halves = _read_halves(halves_path)
    if not against_half:
        return with_halves(select(means, list(queries)), halves), with_halves(means, halves)
    measured = measured_twice(halves).intersection(queries)
    if not measured:
        raise Skip("none of the held-out perturbations has its cells in two halves")
    return second_half_of(select(means, sorted(measured)), halves), means.copy()


@functools.lru_cache(maxsize=1)
def _read_means(path: Path) -> AnnData:
    from pertharness.data.canonical import read

    return read(path)


@functools.lru_cache(maxsize=1)
def _read_halves(path: Path) -> AnnData:
    from pertharness.data.canonical import read

    return read(path)
