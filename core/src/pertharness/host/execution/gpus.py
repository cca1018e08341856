"""Which job gets which GPU: one worker on each at a time."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field

from pertharness.files.whole import sha256_text
from pertharness.host.execution.hardware import Gpu, devices_of, fits
from pertharness.host.execution.nodes import Node
from pertharness.host.store.leases import Lease, take_lease
from pertharness.host.store.records import Store


@dataclass(frozen=True)
class GpuClaim:
    """Where a worker may run.

    Attributes
    ----------
    visible
        The only GPU that it sees; None: whatever the user's own settings say.
    locks
        Those that hold the GPU for as long as the worker lives, which inherits them.
    """

    visible: str | None = None
    locks: dict[str, Lease] = field(default_factory=dict)

    def release(self) -> None:
        """Return the GPU back."""
        for lock in self.locks.values():
            lock.release()


def find_place(node: Node, gpus: tuple[Gpu, ...], store: Store) -> GpuClaim | None:
    """Return the place of a job: of the free GPUs that are large enough the smallest; None where it has to wait.

    A job on ``cuda`` sees one GPU and calls it ``cuda``, so that its record does not depend on which it was; where the
    user chose ``cuda:1`` it sees them all, as that is its name among all.
    """
    if node.gpu_gb is None:
        return GpuClaim()
    fitting = [gpu for gpu in devices_of(node.job.device, gpus) if fits(gpu, node.gpu_gb)]
    for gpu in sorted(fitting, key=lambda gpu: gpu.memory_gb or 0.0):
        # By machine: runs on several may share a store. A name may hold what no file name does.
        path = store.root / "work" / f"gpu-{platform.node()}-{sha256_text(gpu.id)[:16]}.lock"
        if lock := take_lease(path):
            return GpuClaim(gpu.id if node.job.device == "cuda" else None, {f"gpu {gpu.id}": lock})
    return None if fitting else GpuClaim()


def shares_gpu(node: Node, waiting: Node) -> bool:
    """Return whether a job has to wait where another does, because it wants as large a GPU or a larger one."""
    return node.gpu_gb is not None and waiting.gpu_gb is not None and node.gpu_gb >= waiting.gpu_gb
