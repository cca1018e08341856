"""Run all benchmarks and print one table: each line is a time beside that of a named alternative in the same run.

    python benchmarks/run.py [--cells 20000 ...] [--folder DIR] [--scanpy PYTHON] [--only WORD]

Imports are excluded (but for the command line), files are in the cache, one thread each, best of several repeats.
Files of 20 000 cells take up to 2 GB, of 400 000 cells 13 GB, and are removed. scanpy is not needed: without it, its
lines are left out.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PERTHARNESS = Path(sys.executable).with_name("pertharness")
FORMS = (("csr", None), ("csr", "gzip"), ("csc", None), ("csc", "gzip"), ("dense", None), ("dense", "gzip"))
LARGE = 100_000
"""From here on only files of CSR, twice each, and without scanpy: dense would take 31 GB of disk, scanpy of memory."""


@dataclass(frozen=True)
class Line:
    """A line of the table; a target is a ratio to the alternative, or an own limit."""

    what: str
    seconds: float
    against: str = ""
    other_s: float = 0.0
    target: str = ""
    peak_mb: float = 0.0

    def __str__(self) -> str:
        """Return the line in Markdown."""
        ratio = f"{self.seconds / self.other_s:.2f}" if self.other_s else ""
        other = f"{self.against}: {self.other_s:.2f} s" if self.other_s else self.against
        peak = f"{self.peak_mb:.0f} MB" if self.peak_mb else ""
        return f"| {self.what} | {self.seconds:.2f} s | {other} | {ratio} | {self.target} | {peak} |"


SYNCED = ("copy", "split", "load")
"""Ways that wait for the disk: their wall time counts. Of the others the processor time does: it is the same where
nothing else runs, and waiting for other work on the machine is not in it."""


def measured(way: str, path: Path, repeats: int, python: str = sys.executable) -> tuple[float, float]:
    """Return seconds and peak memory of a way, measured in a process of its own."""
    command = [python, "-W", "ignore", str(HERE / "measure.py"), way, str(path), str(repeats)]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return result["seconds" if way in SYNCED else "cpu_s"], result["peak_mb"]


def scanpy_version(python: str) -> str:
    """Return the version of scanpy in an interpreter; nothing where there is none."""
    code = "from importlib.metadata import version; print(version('scanpy'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def files(options: argparse.Namespace, n_cells: int) -> Iterator[Line]:
    """Measure what works on files of one size, one file after the other."""
    from screens import write_screen

    for form, compression in FORMS[:2] if n_cells >= LARGE or options.csr else FORMS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder, "screen.h5ad")
            write_screen(path, n_cells, form=form, compression=compression)
            kind = f"{form.upper() if form != 'dense' else form} {compression or 'uncompressed'}"
            yield from of_a_file(options, path, form, kind, n_cells)


def of_a_file(options: argparse.Namespace, path: Path, form: str, kind: str, n_cells: int) -> Iterator[Line]:
    """Measure what works on one file; all ways by turns, so that what else the machine does hits all of them."""
    is_csr, gzip, large = form == "csr", "gzip" in kind, n_cells >= LARGE
    ways = {"pseudobulk": sys.executable, "chunks": sys.executable}
    if options.scanpy_version and not large:  # it needs four times the size of the file
        ways["scanpy"] = options.scanpy
    if is_csr and not gzip:
        ways |= dict.fromkeys(("backed", "copy", "split", "load"), sys.executable)
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(1 if large else options.rounds):
        for way, python in ways.items():
            found[way].append(measured(way, path, 1 if large else 2, python))
    seconds = {way: min(one for one, _ in times) for way, times in found.items()}
    peak = {way: max(one for _, one in times) for way, times in found.items()}

    def line(way: str, what: str, other: str, against: str, target: str = "") -> Line:
        return Line(f"{what}, {kind}, {n_cells} cells", seconds[way], against, seconds[other], target, peak[way])

    chunks = "reading the same chunks with h5py"
    yield line("pseudobulk", "pseudobulk", "chunks", chunks, "1.3; 600 MB" if gzip and is_csr else "600 MB")
    if "scanpy" in ways:
        name = f"read_h5ad, get.aggregate of scanpy {options.scanpy_version} ({peak['scanpy']:.0f} MB)"
        yield line("pseudobulk", "pseudobulk", "scanpy", name, ("1.0" if gzip else "0.5") if is_csr else "")
    if "copy" in ways:
        copy = "copying the file, both synced"
        yield line("backed", "pseudobulk of a backed AnnData", "pseudobulk", "the same, opened by pertharness")
        yield line("split", "writing the cells of 3 in 4 perturbations", "copy", copy, "1.5")
        yield line("load", "loading a screen", "copy", copy)


def scores(options: argparse.Namespace) -> Iterator[Line]:
    """Measure scorers, leaderboard, the linear model and the empirical null."""
    import leaderboard
    import linear
    import locfdr
    import numpy as np
    import plan
    import scoring

    controls, jobs = scoring.make_jobs(np.random.default_rng(0))
    times = {name: scoring.best_time_s(way, controls, jobs, 3) for name, way in scoring.WAYS.items()}
    own, *others = times
    size = f"{scoring.MODELS} models x {scoring.SPLITS} seeds x {scoring.PERTURBATIONS} perturbations"
    for other in others:
        yield Line(f"scoring {size} x {scoring.GENES} genes, 3 metrics", times[own], other, times[other], "3 s")
    spent, plain = scoring.time_all(3)
    yield Line(f"all scorers of {size}, doubles", sum(spent.values()), scoring.DOUBLES_LOOP, plain, "5 s")
    spent, plain = scoring.time_singles(3)
    n_singles = scoring.SINGLE_MODELS * scoring.SINGLE_SPLITS * scoring.SINGLE_PERTURBATIONS
    what = f"{n_singles} predictions of singles, {scoring.ALL_GENES} genes, {len(spent)} scorers"
    yield Line(what, sum(spent.values()), scoring.SINGLES_LOOP, plain, "10 s")
    n_rows, seconds, plain = leaderboard.measure(10_000)
    yield Line(f"leaderboard of {size}, {n_rows} rows", seconds, "bootstrap of one stratum in a loop", plain)
    found = leaderboard.measure_large(5_000_000)
    other = f"pandas: read_csv, concat, groupby, to_csv ({found['plain']['peak_mb']:.0f} MB)"
    for way, what, target in (("join", "all files of a run of 5 000 000 score rows", "60 s; 2000 MB"),
                              ("again", "the same again, nothing changed", "")):  # fmt: skip
        yield Line(what, found[way]["cpu_s"], other, found["plain"]["cpu_s"], target, found[way]["peak_mb"])
    n_jobs, _, processor, hashing = plan.measure()
    yield Line(f"plan of {n_jobs} jobs", processor, "JSON and sha256 of each", hashing, "5 s")
    (own, own_way), (other, other_way), *_ = linear.WAYS.items()
    seconds, plain = linear.best_time_s(own_way, 3), linear.best_time_s(other_way, 3)
    yield Line(f"{own}, {linear.TRAINING} perturbations x {linear.GENES} genes", seconds, other, plain, "2 s")
    values = locfdr.make_values(locfdr.VALUES)
    seconds, plain = (locfdr.best_time_s(way, values, 3) for way in (locfdr.by_locfdr, locfdr.by_statsmodels))
    yield Line(f"locfdr of {locfdr.VALUES} values", seconds, "statsmodels' empirical null, local_fdr", plain, "0.5 s")


def wall_s(command: list[str], repeats: int) -> float:
    """Return the shortest wall time of a command, start of the interpreter and imports included."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    return min(times)


def harness(options: argparse.Namespace) -> Iterator[Line]:
    """Measure the command line and what the harness adds to its jobs."""
    bare = wall_s([sys.executable, "-c", "pass"], 10)
    yield Line("`pertharness --help`", wall_s([str(PERTHARNESS), "--help"], 10), "python -c pass", bare, "0.3 s")
    worker = "import pertharness.worker.__main__, pertharness.worker.stages"
    yield Line("importing the worker", wall_s([sys.executable, "-c", worker], 10), "python -c pass", bare)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run = [str(PERTHARNESS), "run", "--all", "--store", f"{folder}/store", "--out", f"{folder}/run"]
        first_s = wall_s(run, 1)
        yield Line("`run --all` on the demo, empty store", first_s, target="30 s")
        yield Line("`run --all` again, nothing to do", wall_s(run, 5), "the first run", first_s, "2 s")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run = [*run[:3], "--store", f"{folder}/store", "--out", f"{folder}/run", "--jobs", "1"]
        seconds = wall_s(run, 1)
        records = json.loads(Path(folder, "run", "manifest.json").read_text())["records"]
        with Path(folder, "run", "costs.csv").open(newline="") as file:
            hooks_s = sum(float(row["wall_s"]) for row in csv.DictReader(file))
        each = f"a job's own hooks, mean of {len(records)}"
        own = (seconds - hooks_s) / len(records)
        yield Line("overhead of the harness per cheap job, one at a time", own, each, hooks_s / len(records), "0.3 s")


def environments(options: argparse.Namespace) -> Iterator[Line]:
    """Measure a second environment with torch, its packages in uv's cache."""
    from environments import ROOT, measure

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(ROOT / "plugins" / "gears", Path(folder))
    size = f"{found.packages} packages, {found.size_mb:.0f} MB, of which {found.added_mb:.1f} MB are new on the disk"
    yield Line(f"second environment of {size}", found.second_s, "uv venv, uv pip install", found.uv_s, "20 s")
    yield Line("environment that is there, unchanged", found.unchanged_s, "building it", found.second_s)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[20_000])
    parser.add_argument("--folder", type=Path, help="where files are made (default: that of temporary files)")
    parser.add_argument("--scanpy", default=sys.executable, metavar="PYTHON", help="an interpreter that has scanpy")
    parser.add_argument("--csr", action="store_true", help="leave out CSC and dense files")
    parser.add_argument("--rounds", type=int, default=3, help="how often the ways of a file are timed by turns")
    parser.add_argument("--only", choices=("files", "scores", "harness", "environments"), help="a part of the table")
    options = parser.parse_args()
    options.scanpy_version = scanpy_version(options.scanpy)
    print("| what | time | against | ratio | target | peak memory |\n|---|---|---|---|---|---|")
    parts = {"files": [*options.cells], "scores": [0], "harness": [0]}
    if options.only == "environments":  # it may have to fetch a gigabyte first
        parts = {"environments": [0]}
    for part, sizes in parts.items():
        for size in sizes if options.only in (None, part) else ():
            others = {"scores": scores, "harness": harness, "environments": environments}
            made = files(options, size) if part == "files" else others[part](options)
            for line in made:
                print(line, flush=True)
    if not options.scanpy_version:
        print("\nscanpy is not there: its lines are left out; name an interpreter that has it with --scanpy")


if __name__ == "__main__":
    main()
