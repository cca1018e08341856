"""Assign GPUs of this machine to jobs: one worker per GPU, even if several runs share the store."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from pertharness.files.whole import sha256_text
from pertharness.host.execution.hardware import Gpu, devices_of, fits
from pertharness.host.execution.nodes import Node
from pertharness.host.store.leases import Lease, take_lease


@dataclass(frozen=True)
class GpuClaim:
    """The GPU that is reserved for a batch, if any.

    Attributes
    ----------
    visible
        The only GPU that its jobs see; None: whatever the user's own settings say.
    leases
        That of the GPU, which holds for as long as the worker lives: it inherits it.
    """

    visible: str | None = None
    leases: tuple[Lease, ...] = ()

    def release(self) -> None:
        """Release the GPU."""
        for lease in self.leases:
            lease.release()


def claim_gpu(node: Node, gpus: tuple[Gpu, ...], folder: Path) -> GpuClaim | None:
    """Return the smallest free GPU that is large enough for a job; None if it must wait for one.

    A job on ``cuda`` sees one GPU and calls it ``cuda``, so its record does not depend on which GPU that was. If the
    user chose ``cuda:1``, the job sees all GPUs, because that is the name among all of them. If no GPU is large enough,
    none is claimed and the job runs like the others; the missing hardware was found earlier.

    Parameters
    ----------
    node
        The job.
    gpus
        Those of this machine.
    folder
        Where the leases lie.
    """
    if node.gpu_gb is None:
        return GpuClaim()
    fitting = [gpu for gpu in devices_of(node.job.device, gpus) if fits(gpu, node.gpu_gb)]
    for gpu in sorted(fitting, key=lambda gpu: gpu.memory_gb or 0.0):
        # Per machine: runs on several may share a store. A GPU's name may contain characters that no file name has.
        path = folder / f"gpu-{platform.node()}-{sha256_text(gpu.id)[:16]}.lock"
        if lease := take_lease(path):
            return GpuClaim(gpu.id if node.job.device == "cuda" else None, (lease,))
    return None if fitting else GpuClaim()


def waits_too(node: Node, waiting: Node) -> bool:
    """Return whether a job must wait if another one waits, because it needs a GPU that is at least as large."""
    return node.gpu_gb is not None and waiting.gpu_gb is not None and node.gpu_gb >= waiting.gpu_gb
