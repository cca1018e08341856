"""Time one way of working on a file, in a process of its own, and print the best times and the peak memory as JSON.

    python benchmarks/measure.py WAY FILE [REPEATS]

Imports are excluded; the first of several repeats warms the file cache.
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 16 << 20


def read_chunks(path: Path) -> Callable[[], None]:
    """Read all values, stored chunk after stored chunk, and throw them away."""
    import h5py

    def work() -> None:
        with h5py.File(path) as file:
            arrays = [file["X/data"], file["X/indices"]] if isinstance(file["X"], h5py.Group) else [file["X"]]
            row_bytes = sum(array.dtype.itemsize * (array.shape[1] if array.ndim == 2 else 1) for array in arrays)
            stored = arrays[0].chunks[0] if arrays[0].chunks else 1
            step = max(1, CHUNK_BYTES // row_bytes // stored) * stored
            for start in range(0, len(arrays[0]), step):
                for array in arrays:
                    array[start : start + step]

    return work


def aggregate_by_scanpy(path: Path) -> Callable[[], None]:
    """Read the file and average its groups."""
    import anndata
    import scanpy

    def work() -> None:
        scanpy.get.aggregate(anndata.read_h5ad(path), by="perturbation", func="mean")

    return work


def pseudobulk_stored(path: Path) -> Callable[[], None]:
    """Average the groups of a file, streamed."""
    import anndata  # noqa: F401
    from pertharness.data.canonical import open_stored, pseudobulk

    def work() -> None:
        pseudobulk(open_stored(path))

    return work


def pseudobulk_backed(path: Path) -> Callable[[], None]:
    """Average the groups of a backed AnnData."""
    import anndata
    from pertharness.data.canonical import pseudobulk

    def work() -> None:
        pseudobulk(anndata.read_h5ad(path, backed="r"))

    return work


def copy_file(path: Path) -> Callable[[], None]:
    """Copy the file to the disk."""
    target = path.with_suffix(".copy")

    def work() -> None:
        shutil.copyfile(path, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())

    return work


def write_split(path: Path) -> Callable[[], None]:
    """Write the cells of three in four perturbations to the disk."""
    import anndata  # noqa: F401
    from pertharness.data.canonical import open_stored, select, write

    def work() -> None:
        screen = open_stored(path)
        labels = list(screen.obs["perturbation"].cat.categories)
        write(select(screen, [label for i, label in enumerate(labels) if i % 4 != 3]), path.with_suffix(".copy"))

    return work


def load_counts(path: Path) -> Callable[[], None]:
    """Load a screen as a run does: survey, check, write, average."""
    import anndata  # noqa: F401
    from pertharness.data.canonical import check_dataset, open_stored, pseudobulk, write
    from pertharness.datasets import load_dataset

    def work() -> None:
        dataset = load_dataset("h5ad", path, {})
        check_dataset(dataset, "made")
        write(dataset, path.with_suffix(".copy"))
        pseudobulk(open_stored(path.with_suffix(".copy")))

    return work


def load_by_hand(path: Path) -> Callable[[], None]:
    """Do what loading does with anndata, numpy and scipy, in memory: read, look at all values, write, average."""
    import anndata
    import numpy as np
    from scipy import sparse

    def work() -> None:
        adata = anndata.read_h5ad(path)
        values = adata.X if isinstance(adata.X, np.ndarray) else adata.X.data
        assert values.min() >= 0
        assert (values != np.floor(values)).any()
        logs = adata.X.copy()
        made = logs if isinstance(logs, np.ndarray) else logs.data
        np.expm1(made, out=made)
        assert np.ptp(np.asarray(logs.sum(axis=1, dtype=np.float64))) < 100
        adata.write_h5ad(path.with_suffix(".copy"))
        codes = adata.obs["perturbation"].cat.codes.to_numpy()
        groups = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))))
        (groups @ adata.X) / np.bincount(codes)[:, None]

    return work


WAYS: dict[str, Callable[[Path], Callable[[], None]]] = {
    "chunks": read_chunks, "scanpy": aggregate_by_scanpy, "pseudobulk": pseudobulk_stored,
    "backed": pseudobulk_backed, "copy": copy_file, "split": write_split, "load": load_counts,
    "by hand": load_by_hand,
}  # fmt: skip


def peak_rss_mb() -> float:
    """Return the most memory that this process had; on Linux without what it inherited from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Time a way."""
    way, path = sys.argv[1], Path(sys.argv[2])
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    work, times, processor = WAYS[way](path), [], []
    for _ in range(repeats + 1):
        path.with_suffix(".copy").unlink(missing_ok=True)
        started, began = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - started)
        processor.append(time.process_time() - began)
    path.with_suffix(".copy").unlink(missing_ok=True)
    print(
        json.dumps(
            {"seconds": min(times[1:] or times), "cpu_s": min(processor[1:] or processor), "peak_mb": peak_rss_mb()}
        )
    )


if __name__ == "__main__":
    main()
