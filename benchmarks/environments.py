"""Time a second environment that shares its packages with the first, beside uv alone, and what it adds to the disk.

    python benchmarks/environments.py [--plugin plugins/gears] [--folder DIR]

The first build fills uv's cache, over the network where it has to; DIR should be on the file system of that cache.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pertharness.host.environments.build import build
from pertharness.host.environments.folder import Environment, Folder
from pertharness.host.environments.spec import LOCK
from pertharness.host.environments.uv import find_uv

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measured:
    """Times in seconds, sizes in MB."""

    first_s: float
    second_s: float
    uv_s: float
    unchanged_s: float
    size_mb: float
    added_mb: float
    packages: int


def measure(plugin: Path, root: Path) -> Measured:
    """Build a plugin's environment, then one with the same packages for another source, then the same by uv alone."""
    folder = Folder(root / "environments")
    source = root / "source"
    shutil.copytree(plugin, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    first_s, _ = _timed(source, folder)
    (lock,) = source.glob(f"src/*/{LOCK}")
    lock.write_text(
        lock.read_text(encoding="utf-8") + "# Another lock by its text, the same packages.\n", encoding="utf-8"
    )
    second_s, second = _timed(source, folder)
    unchanged_s, _ = _timed(source, folder)
    size, added = sizes_mb(folder.path_of(second))
    return Measured(first_s, second_s, _uv_alone(lock, second, root), unchanged_s, size, added, len(second.packages))


def _timed(source: Path, folder: Folder) -> tuple[float, Environment]:
    started = time.perf_counter()
    environment = build(str(source), folder)
    return time.perf_counter() - started, environment


def _uv_alone(lock: Path, environment: Environment, root: Path) -> float:
    """Return the seconds that uv takes to make an environment of the lock, with nothing of ours around it."""
    uv, place = find_uv(), root / "alone"
    started = time.perf_counter()
    uv("venv", "--no-project", "--python", environment.interpreter, place, cwd=root, task="uv venv")
    uv("pip", "install", "--python", place / "bin" / "python", "--no-deps", "-r", lock, cwd=root, task="uv pip install")
    return time.perf_counter() - started


def sizes_mb(place: Path) -> tuple[float, float]:
    """Return the size of an environment, and of those of its files that are links to nothing else."""
    files = [path.lstat() for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(one.st_size for one in files) / 1e6, sum(one.st_size for one in files if one.st_nlink == 1) / 1e6


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugin", type=Path, default=ROOT / "plugins" / "gears")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        found = measure(options.plugin, Path(root))
    print(f"{found.packages} packages, {found.size_mb:.0f} MB")
    print(f"first {found.first_s:.1f} s, second {found.second_s:.1f} s (uv alone {found.uv_s:.1f} s)")
    print(f"unchanged {found.unchanged_s:.1f} s; the second adds {found.added_mb:.1f} MB")


if __name__ == "__main__":
    main()
