"""Models that records keep: found again, and refused where they could not predict what they were fitted to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertharness.contract.cards import ModelOffer
from pertharness.contract.errors import RecipeError, StoreError
from pertharness.contract.jobs import WEIGHTS, Job, Status
from pertharness.contract.stages import MODEL, SPLIT, TRAIN
from pertharness.host.plan.query_jobs import KeptFiles
from pertharness.host.plugins.registry import Offered, Registry
from pertharness.host.store.records import Store, read_job

AGAIN = "predict without --model-record, which fits it again"


@dataclass(frozen=True)
class KeptModel:
    """A model that a record keeps.

    Attributes
    ----------
    files
        What predicts with it.
    offered
        The installed model, of the plugin that fitted it.
    dataset, dataset_job
        Key of the dataset that it was fitted to, and the job that loaded it.
    split
        Content of the split's file.
    """

    files: KeptFiles
    offered: Offered[ModelOffer]
    dataset: str
    dataset_job: Job
    split: dict[str, Any]

    def describe(self) -> str:
        """Return the provenance of its fit: dataset, split, seed, parameters and versions."""
        job, plugin = self.files.job, self.files.job.key_parts.plugin if self.files.job.key_parts else {}
        params = json.dumps(job.params, sort_keys=True)
        slots = f", embeddings in {', '.join(sorted(job.embeddings))}" if job.embeddings else ""
        return (
            f"{job.name} of record {self.files.key[:12]} was fitted to dataset {self.split['dataset']!r} "
            f"({len(self.split['train']) - 1} perturbations; split {self.split['kind']}, hash "
            f"{self.split['hash'][:12]}), training seed {job.seed}, params {params}{slots}, by plugin "
            f"{job.plugin.name} {plugin.get('version', job.plugin.version)}"
        )


def read_kept(store: Store, prefix: str, registry: Registry) -> KeptModel:
    """Return the model that a record keeps.

    Parameters
    ----------
    store
        Store of the record.
    prefix
        Key of the record, or its beginning.
    registry
        Installed plugins.

    Raises
    ------
    RecipeError
        If the record keeps no model, is damaged or incomplete, or its plugin is not installed in the same version; the
        message says what to do.
    StoreError
        If no record or several have such a key.
    """
    stage, key = store.find(prefix)
    where = f"record {key[:12]}"
    if stage != "predictions":
        raise RecipeError(f"{where} is of the stage {stage!r}; expected the record of a prediction that keeps a model")
    job, status = _read_whole(store, key, where)
    if MODEL not in status.artefacts:
        raise RecipeError(
            f"{where} keeps no model: `pertharness predict` and `pertharness run --keep-models` keep one, of plugins "
            f"that can save models; {AGAIN}"
        )
    offered = _same_plugin(job, registry, where)
    split, dataset, train = _find_data(store, job, status, where)
    archive = (store.record("predictions", key) / MODEL, status.artefacts[MODEL].sha256)
    files = KeptFiles(key, job, archive, train, _weights(job, status, where))
    content = json.loads((store.record("splits", split) / SPLIT).read_text(encoding="utf-8"))
    return KeptModel(files, offered, dataset, read_job(store.record("datasets", dataset)), content)


def _find_data(store: Store, job: Job, status: Status, where: str) -> tuple[str, str, tuple[Path, str]]:
    """Return the keys of the split and the dataset that a job read, and its training data."""
    try:
        split = _input_of(job, "split")
        dataset = _input_of(read_job(store.record("splits", split)), "dataset")
        read_job(store.record("datasets", dataset))
        split_status = store.status("splits", split)
    except (StoreError, KeyError):
        split_status = None
    if split_status is None or store.status("datasets", dataset) is None:
        raise RecipeError(f"{where}: the data that its model was fitted to are no longer in the store; {AGAIN}")
    train = split_status.artefacts[TRAIN].sha256
    if train != status.inputs.get("train"):
        raise RecipeError(f"{where}: the data in the store are not those that its model was fitted to; {AGAIN}")
    return split, dataset, (store.record("splits", split) / TRAIN, train)


def _input_of(job: Job, role: str) -> str:
    """Return the key of a record that a job read; raise `KeyError` if it read none."""
    if job.key_parts is None:
        raise KeyError(role)
    return job.key_parts.inputs[role]


def _read_whole(store: Store, key: str, where: str) -> tuple[Job, Status]:
    """Return job and status of a record that is done and undamaged."""
    status = store.status("predictions", key)
    try:
        job = read_job(store.record("predictions", key))
    except StoreError:
        status = None
    if status is None:
        raise RecipeError(f"{where} is damaged: a file is missing or has changed; {AGAIN}")
    if status.state != "done":
        raise RecipeError(f"{where} is no prediction ({status.state}: {status.message}); {AGAIN}")
    return job, status


def _same_plugin(job: Job, registry: Registry, where: str) -> Offered[ModelOffer]:
    """Return the installed model of the very plugin that a job used."""
    plugin = registry.plugins.get(job.plugin.name)
    offered = next(
        (each for each in registry.models.values() if each.plugin is plugin and each.offer.name == job.name), None
    )
    if plugin is None or offered is None:
        raise RecipeError(
            f"{where}: its model {job.name!r} is of the plugin {job.plugin.name!r}, which is not installed, or no "
            "longer offers it; install it"
        )
    fitted = job.key_parts.plugin if job.key_parts else {}
    now = plugin.in_keys()
    for part, text in (("version", "version"), ("source", "source code"), ("environment", "packages")):
        if fitted.get(part) != now.get(part):
            values = f"{fitted.get(part, '')[:12]!r}, now {now.get(part, '')[:12]!r}"
            raise RecipeError(
                f"{where}: the plugin {job.plugin.name!r} had another {text} when it fitted the model ({values}); "
                f"install what it was fitted with, or {AGAIN}"
            )
    return offered


def _weights(job: Job, status: Status, where: str) -> dict[str, tuple[Path, str]]:
    """Return the weights and side files that a job was given, by name."""
    files = {}
    for name, path in job.files().items():
        if not path.is_file():
            raise RecipeError(f"{where}: {str(path)!r}, which its model needs, is no longer there; {AGAIN}")
        files[name] = (path, status.inputs[WEIGHTS + name])
    return files
