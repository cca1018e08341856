"""Which jobs may be forked from one warm worker, and which start their own interpreter."""

from __future__ import annotations

import sys

from pertharness.contract.jobs import ORACLE_ROLE
from pertharness.host.execution.batch import Mechanism, uses_gpu
from pertharness.host.execution.nodes import Node


def is_forked(node: Node, mechanism: Mechanism) -> bool:
    """Return whether a job is forked from a warm worker.

    Not if it may use a GPU, because CUDA writes below ``/proc/self``, which a warm worker cannot grant to later
    processes. Not if it has several threads, which numpy's libraries start at import. If forks are unsafe (macOS), or
    bubblewrap makes the namespaces, each job starts an interpreter.
    """
    if not node.cheap or node.shares_process or uses_gpu(node.job) or node.job.threads > 1:
        return False
    return sys.platform == "linux" and mechanism != "bwrap"


def kind_of(node: Node) -> tuple[object, ...]:
    """Return what jobs have in common that may be forked from one warm worker; the job's own key for other jobs.

    Jobs of a model share a warm worker only on the same split, because another split trains on what this one holds out,
    and only with the same oracle or without any. A score job reads the truth. Nothing of this may have passed through a
    process from which a model's job is forked.
    """
    job = node.job
    if not node.cheap:
        return (node.key,)
    is_model = job.stage in ("predictions", "embeddings")
    split = (str(job.inputs.get("split")), str(job.inputs.get(ORACLE_ROLE))) if is_model else None
    confined = (job.plugin.name, job.plugin.module) if job.stage != "scores" else (job.plugin.name, "scores")
    return str(node.python), *confined, job.threads, job.device, job.stage, split, node.gpu_gb, node.shares_process
