"""The keys of jobs: one sha256 over everything that a record depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertharness.contract.jobs import Job, KeyParts
from pertharness.contract.stages import ON_DEVICE, STAGE_VERSIONS, Stage
from pertharness.files.whole import canonical_json, sha256_text

_NOT_IN_KEYS = ("lacking", "keep_model")
"""Options that enter in another way, or not at all."""


def key_parts(stage: Stage, plugin: Mapping[str, str], inputs: Mapping[str, str]) -> KeyParts:
    """Return the parts of a job's key that its other fields do not have.

    Parameters
    ----------
    stage
        Stage of the job.
    plugin
        Identity of the plugin, from `Plugin.in_keys`.
    inputs
        Role -> key of a record, or sha256 of a file.
    """
    return KeyParts(version=STAGE_VERSIONS[stage], plugin=dict(plugin), inputs=dict(inputs))


def key_of(job: Job) -> str:
    """Return the key of a job: the sha256 of its ``key_parts`` and of its other inputs, ignoring its field `key`.

    Files enter by their entry in ``key_parts.inputs`` instead of their path, so a store may be moved. The key of a job
    that scores a prediction again without some genes is made of the key of the usual job and these genes. Whether a
    fitted model is kept does not enter: the prediction is the same.

    Raises
    ------
    ValueError
        If the job has no ``key_parts``, or parameters that are not JSON.
    """
    if job.key_parts is None:
        raise ValueError("the job has no key_parts")
    options = {name: value for name, value in job.options.items() if name not in _NOT_IN_KEYS}
    parts: dict[str, Any] = {
        **job.key_parts.model_dump(), "stage": job.stage, "protocol": job.protocol, "name": job.name,
        "params": job.params, "seed": job.seed, "options": options,
        "task": job.task.model_dump(mode="json") if job.task else None,
    }  # fmt: skip
    if job.stage in ON_DEVICE:
        parts |= {"device": job.device.split(":")[0], "threads": job.threads}
    key = sha256_text(canonical_json(parts))
    return (
        sha256_text(canonical_json({"key": key, "lacking": job.options["lacking"]}))
        if "lacking" in job.options
        else key
    )
