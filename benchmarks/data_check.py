"""Time ``pertharness data check`` of a large file, and loading a screen, beside reading the same with public libraries.

    python benchmarks/data_check.py [--cells 600000] [--form csr] [--compression gzip] [--rounds N] [--folder DIR]

Check: a file of 600 000 cells x 5 000 genes, 5 % of them filled, with three text columns, a column of categories and
the labels as texts in ``obs``. The whole command is timed, start of both interpreters included, and the memory of all
its processes together is watched. The alternatives, each in a process of its own, start of the interpreter included:
``anndata.read_h5ad(backed="r")`` with ``value_counts`` of the labels, which looks at no value, and the same with a pass
over all stored values with h5py, which judges none.

Load: what the dataset job does with 50 000 cells x 5 000 genes, sparse and dense: read, survey, write, average. The
alternative does the same in memory, with anndata, numpy and scipy. Processor time: the same beside other work.
"""

from __future__ import annotations

import os

# Before numpy is loaded, which reads them once.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from run import HERE, Line
from screens import write_screen

PERTHARNESS = Path(sys.executable).with_name("pertharness")
GENES, NON_ZEROS = 5_000, 250
LABELLED = 50_000
"""Cells of the files that are loaded."""
COUNTED = "import anndata, sys; a = anndata.read_h5ad(sys.argv[1], backed='r'); a.obs['condition'].value_counts()"
PASSED = """
def go_over(array):
    step = max(1, (16 << 20) // array.dtype.itemsize // (array.shape[1] if array.ndim == 2 else 1))
    for start in range(0, len(array), step):
        array[start : start + step]
import h5py
with h5py.File(sys.argv[1]) as file:
    x = file["X"]
    for array in [x["data"], x["indices"]] if hasattr(x, "keys") else [x]:
        go_over(array)
"""


@dataclass(frozen=True)
class Spent:
    """Wall and processor seconds of a command, and the most memory that its processes had together."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def write_with_texts(path: Path, n_cells: int, form: str, compression: str | None) -> None:
    """Write a screen whose labels and other columns of ``obs`` are texts, as h5ad files of large screens have them."""
    import anndata
    import h5py

    try:
        from anndata.io import write_elem
    except ImportError:  # anndata < 0.11
        from anndata.experimental import write_elem
    write_screen(path, n_cells, form=form, compression=compression, n_genes=GENES, non_zeros=NON_ZEROS)
    rng = np.random.default_rng(0)
    obs = anndata.read_h5ad(path, backed="r").obs
    labels = obs["perturbation"].astype(str).to_numpy(dtype=object)
    guides = [f"{label}_g{k}" for label, k in zip(labels, rng.integers(1, 4, n_cells), strict=True)]
    table = pd.DataFrame(
        {
            "condition": labels,
            "barcode": np.array([f"{i:016x}-1" for i in range(n_cells)], dtype=object),
            "guide": np.array(guides, dtype=object),
            "sample": np.array([f"sample {k}" for k in rng.integers(0, 9, n_cells)], dtype=object),
            "batch": pd.Categorical(rng.integers(0, 50, n_cells).astype(str).astype(object)),
            "cell_type": pd.Categorical(["K562"] * n_cells),
            "n_counts": rng.integers(1000, 9000, n_cells).astype(float),
        },
        index=pd.Index(obs.index.to_numpy(dtype=object), dtype=object),
    )
    with h5py.File(path, "a") as file:
        del file["obs"], file["uns"]  # nothing says what the values are
        write_elem(file, "obs", table)
        write_elem(file, "uns", {})


def watched(command: Sequence[str]) -> Spent:
    """Carry out a command, and watch what it and its children take."""
    before, started, peak = _children_s(), time.perf_counter(), 0.0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, _memory_of(process))
        time.sleep(0.01)
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    return Spent(wall_s, _children_s() - before, peak / 1e6)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory_of(process: psutil.Process) -> float:
    """Return the bytes that a process and its children have; one that ends meanwhile has none."""
    memory = 0.0
    with contextlib.suppress(psutil.Error):
        for member in [process, *process.children(recursive=True)]:
            memory += member.memory_info().rss
    return memory


def check(path: Path, rounds: int) -> Iterator[Line]:
    """Time the check of a file, by turns with the alternatives."""
    python = [sys.executable, "-W", "ignore", "-c"]
    commands = {
        "check": [str(PERTHARNESS), "data", "check", str(path)],
        "labels": [*python, COUNTED, str(path)],
        "values": [*python, COUNTED + PASSED, str(path)],
    }
    times: dict[str, list[Spent]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(watched(command))
    best = {name: min(spent, key=lambda one: one.wall_s) for name, spent in times.items()}
    peak = {name: max(one.peak_mb for one in spent) for name, spent in times.items()}
    what = f"`data check`, {path.stem}"
    for name, words in (
        ("labels", "read_h5ad backed, value_counts"),
        ("values", "the same and a pass over all values"),
    ):
        against = f"{words} ({peak[name]:.0f} MB)"
        yield Line(what, best["check"].wall_s, against, best[name].wall_s, "10 s; 1000 MB", peak["check"])
    yield Line(f"{what}, processor time", best["check"].cpu_s, "the same and a pass", best["values"].cpu_s)


def load(path: Path, rounds: int) -> Iterator[Line]:
    """Time loading a screen as a run does, by turns with doing the same by hand."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ("load", "by hand")}
    for _ in range(rounds):
        for way, times in found.items():
            command = [sys.executable, "-W", "ignore", str(HERE / "measure.py"), way, str(path), "3"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            times.append(json.loads(done.stdout.splitlines()[-1]))
    best = {way: min(one["cpu_s"] for one in times) for way, times in found.items()}
    peak = {way: max(one["peak_mb"] for one in times) for way, times in found.items()}
    against = f"read_h5ad, expm1 and sums of rows, write_h5ad, means by a sparse product ({peak['by hand']:.0f} MB)"
    yield Line(f"loading a screen, {path.stem}", best["load"], against, best["by hand"], peak_mb=peak["load"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=600_000)
    parser.add_argument("--form", choices=("csr", "csc", "dense"), default="csr")
    parser.add_argument("--compression", choices=("gzip",))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where files are made (default: that of temporary files)")
    parser.add_argument("--only", choices=("check", "load"), help="a part of the table")
    options = parser.parse_args()
    print("| what | time | against | ratio | target | peak memory |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.only != "load":
            name = f"{options.form} {options.compression or 'uncompressed'}, {options.cells} cells x {GENES} genes"
            path = Path(folder, f"{name}.h5ad")
            write_with_texts(path, options.cells, options.form, options.compression)
            for line in check(path, options.rounds):
                print(line, flush=True)
            path.unlink()
        for form in ("csr", "dense") if options.only != "check" else ():
            path = Path(folder, f"{form} uncompressed, {LABELLED} cells x {GENES} genes.h5ad")
            write_screen(path, LABELLED, form=form, n_genes=GENES, non_zeros=NON_ZEROS)
            for line in load(path, options.rounds):
                print(line, flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
