"""The keys of jobs: all that a record depends on, and nothing else, in one sha256."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertharness.contract.jobs import Job, KeyParts
from pertharness.contract.stages import ON_DEVICE, STAGE_VERSIONS, Stage
from pertharness.files.whole import canonical_json, sha256_text


def key_parts(stage: Stage, plugin: Mapping[str, str], inputs: Mapping[str, str]) -> KeyParts:
    """Return what enters the key of a job besides what its file says anyway.

    Parameters
    ----------
    stage
        Of the job.
    plugin
        What identifies the plugin, from `Plugin.in_keys`.
    inputs
        Role -> key of a record, or sha256 of a file.
    """
    return KeyParts(version=STAGE_VERSIONS[stage], plugin=dict(plugin), inputs=dict(inputs))


def key_of(job: Job) -> str:
    """Return the key of a job: the sha256 of its ``key_parts`` and of what it is asked, whatever its `key` says.

    Paths of files enter by what stands in ``key_parts.inputs`` for them, so a store may lie anywhere. The job that
    scores a prediction again without some genes has the key of the usual job and these genes as its parts.

    Raises
    ------
    ValueError
        If the job has no ``key_parts``, or parameters that are no JSON.
    """
    if job.key_parts is None:
        raise ValueError("the job does not say what its key was made of")
    options = {name: value for name, value in job.options.items() if name != "lacking"}
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
