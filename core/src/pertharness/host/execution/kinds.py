"""Which jobs may be forked from one warm worker, and which start an interpreter of their own."""

from __future__ import annotations

import sys

from pertharness.host.execution.batch import Mechanism, uses_gpu
from pertharness.host.execution.nodes import Node


def is_forked(node: Node, mechanism: Mechanism) -> bool:
    """Return whether a job is forked from a warm worker.

    None that may use a GPU: CUDA writes below ``/proc/self``, which a warm worker cannot grant to processes that are
    not there yet. None of several threads, which numpy's libraries start when they are imported. Where forks are
    unsafe (macOS), or bubblewrap makes the namespaces, each starts an interpreter.
    """
    if not node.cheap or node.shares_process or uses_gpu(node.job) or node.job.threads > 1:
        return False
    return sys.platform == "linux" and mechanism != "bwrap"


def kind_of(node: Node) -> tuple[object, ...]:
    """Return what jobs that may be forked from one warm worker have in common; of others their own key.

    A model's jobs share one only on the same split: another split trains on what this one holds out, and a score job
    reads the truth; neither may have passed through a process from which a model's is forked.
    """
    job = node.job
    if not node.cheap:
        return (node.key,)
    split = str(job.inputs.get("split")) if job.stage in ("predictions", "embeddings") else None
    confined = (job.plugin.name, job.plugin.module) if job.stage != "scores" else (job.plugin.name, "scores")
    return str(node.python), *confined, job.threads, job.device, job.stage, split, node.gpu_gb, node.shares_process
