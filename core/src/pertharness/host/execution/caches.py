"""Compile caches of a plugin's environment, filled by the job that returns its card, which reads no data.

What `describe` leaves in ``~/.cache`` (numba, Triton, Inductor, CUDA, fonts of matplotlib) becomes an artefact of the
card's record, `CACHES`; every later job of that plugin finds a copy of its own in its home. So no job can change what
another one finds there, and none waits for what was compiled before.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from pertharness.contract.errors import StoreError
from pertharness.contract.jobs import HOME
from pertharness.files.full_disk import FULL
from pertharness.files.trees import Entry, remove_tree, walk
from pertharness.host.execution.plain_files import open_plain

CACHES = "caches.zip"
IN_HOME = ".cache"
"""Cache folder in a home, which libraries may lose (XDG base directory specification)."""
LARGEST_MB = 500.0
"""Limit of the kept caches, because every job of the plugin copies them."""
MOST_FILES = 20_000
"""Limit of the kept caches; Inductor leaves some hundred files."""
LONGEST_NAME = 2000
"""Longest path below `IN_HOME`, so that it stays below PATH_MAX in the home of any job."""
VARIABLES = {
    "CUDA_CACHE_PATH": "nv", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton",
}  # fmt: skip
"""Variables of libraries that would otherwise put caches elsewhere in the home, or with temporary files."""
OF_THE_USER = frozenset({
    "CUPY_CACHE_DIR", "HF_DATASETS_CACHE", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
    "JAX_COMPILATION_CACHE_DIR", "KERAS_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "SCVI_HOME", "TFHUB_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR", "TORCH_HOME", "TRANSFORMERS_CACHE", "TRITON_DUMP_DIR", "TRITON_HOME",
    "TRITON_OVERRIDE_DIR",
})  # fmt: skip
"""Variables that may name a folder of the user, where no job can write; without them, caches are in the home."""


def cache_variables(home: Path) -> dict[str, str]:
    """Return where libraries keep what they compile: all in one folder of the job's home."""
    return {name: str(home / IN_HOME / folder) for name, folder in VARIABLES.items()}


def keep_caches(folder: Path) -> tuple[Path | None, str]:
    """Pack the caches that an ended job left in its home into the file `CACHES` of its folder.

    Parameters
    ----------
    folder
        The job's.

    Returns
    -------
        The file, None where there is nothing to keep; and, where it is too much, a note.

    Raises
    ------
    OSError
        If the disk is full.
    """
    cache = folder / HOME / IN_HOME
    files, size = list[Path](), 0
    for path, n_bytes in _plain_files(cache):
        files.append(path)
        size += n_bytes
        if size > LARGEST_MB * 1e6 or len(files) > MOST_FILES:
            most = f"{LARGEST_MB:.0f} MB or {MOST_FILES} files"
            return None, f"the caches that describe() left hold more than {most}: not kept"
    if not files:
        return None, ""
    target = folder / CACHES
    remove_tree(target)  # put there by a plugin that was not sandboxed
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            with contextlib.suppress(StoreError, FileNotFoundError):
                _pack(path, archive, _entry(path, cache))
    return target, ""


def _pack(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Add a file without its time, so that equal files give equal bytes."""
    with os.fdopen(open_plain(path), "rb") as source, archive.open(entry, "w", force_zip64=True) as packed:
        while piece := source.read(1 << 20):
            packed.write(piece)


def lay_out_caches(caches: Path, home: Path) -> None:
    """Unpack what `keep_caches` packed into the home of another job; without a file as it was, it compiles for itself.

    Raises
    ------
    OSError
        If the disk is full.
    """
    try:
        with zipfile.ZipFile(caches) as archive:
            archive.extractall(home / IN_HOME)
    except zipfile.BadZipFile:
        return
    except OSError as error:
        if error.errno in FULL:
            raise


def _plain_files(cache: Path) -> Iterator[tuple[Path, int]]:
    """Yield the plain files in a folder with their bytes; the watcher must not follow links."""
    if cache.parent.is_symlink():
        return
    for entry in walk(cache, unlock=True):
        facts = entry.facts
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and _is_storable(entry):
            yield cache.joinpath(*entry.above, entry.name), facts.st_size


def _is_storable(entry: Entry) -> bool:
    """Return whether a file can be read by its path, and has a name that an archive can hold."""
    if sum(len(name) + 1 for name in entry.above) > LONGEST_NAME or len(entry.name) > LONGEST_NAME:
        return False
    try:
        "/".join([*entry.above, entry.name]).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return os.access(entry.name, os.R_OK, dir_fd=entry.folder, follow_symlinks=False)


def _entry(path: Path, cache: Path) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(path.relative_to(cache).as_posix())
