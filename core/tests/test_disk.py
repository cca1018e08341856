"""A full disk is known as one, whatever met it: on a real full file system, and under a limit on the size of files."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pertharness.files.full_disk import FULL, is_disk_full, mentions_full_disk

# What each writes is far larger than the disk. "closed" is the case of which h5py says nothing but in words.
PROGRAM = """
import os, resource, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import anndata, h5py, numpy as np, pandas as pd
from pertharness.files.full_disk import is_disk_full
from pertharness.data.expression import write

values = np.random.default_rng(0).normal(size=(1000, 500))

def closed(path):
    with h5py.File(path, "w") as file:
        for i in range(20_000):
            file[f"g{i}/x"] = np.arange(20)

writers = {
    "anndata": lambda path: anndata.AnnData(values).write_h5ad(path),
    "our writer": lambda path: write(anndata.AnnData(values), path),
    "closed": closed,
    "numpy": values.tofile,
    "pandas": pd.DataFrame(values).to_csv,
    "text": lambda path: path.write_text("x" * 4_000_000),
}
folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
for name, writer in writers.items():
    child = os.fork()  # HDF5 may die of a file that it could not close
    if not child:
        try:
            writer(folder / "x.h5ad")
        except BaseException as error:
            print(name, "full" if is_disk_full(error) else repr(error), flush=True)
        else:
            print(name, "written", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    for left in folder.iterdir():
        left.unlink()
"""
ALL_FULL = [f"{name} full" for name in ("anndata", "our writer", "closed", "numpy", "pandas", "text")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MiB; skip where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def verdicts(folder: Path, *limit: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), *limit], capture_output=True, text=True)
    return done.stdout.splitlines()


def test_a_full_file_system_is_known_whoever_writes(small_disk: Path) -> None:
    assert verdicts(small_disk) == ALL_FULL


def test_a_limit_on_the_size_of_files_is_known_whoever_writes(tmp_path: Path) -> None:
    assert verdicts(tmp_path, "100000") == ALL_FULL


@pytest.mark.parametrize("number", sorted(FULL))
def test_what_was_raised_from_or_after_a_full_disk_is_known(number: int) -> None:
    full = OSError(number, "words of another language")
    assert is_disk_full(full)
    wrapped = ValueError("cannot save")
    wrapped.__cause__ = full
    assert is_disk_full(wrapped)
    later = ValueError("cannot clean up")
    later.__context__ = wrapped
    assert is_disk_full(later)
    later.__suppress_context__ = True
    assert not is_disk_full(later)


def test_a_circle_of_errors_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__cause__ = second, first
    assert not is_disk_full(first)


class Wordless(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "No space left on device"),  # the number counts, where there is one
        RuntimeError("Can't decrement id ref count (file write failed, errno = 280, error message = 'x')"),
        Wordless(),
        MemoryError(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_are_not_taken_for_a_full_disk(error: BaseException) -> None:
    assert not is_disk_full(error)


@pytest.mark.parametrize(
    "text",
    [
        "failed to write: No space left on device (os error 28)",
        "sqlite3.OperationalError: database or disk is full",
        "file write failed: time = x\n, errno = 28, error message = 'No space'",
        "1000000 requested and 131072 written",
        "Disk quota exceeded",
    ],
)
def test_the_words_of_other_programs_are_understood(text: str) -> None:
    assert mentions_full_disk(text)
    assert is_disk_full(RuntimeError(text))
