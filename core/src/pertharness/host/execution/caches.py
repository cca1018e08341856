"""Compile caches of a plugin's environment: filled by the job that asks for its card, which reads no data.

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

from pertharness.jobs import HOME

CACHES = "caches.zip"
PLACE = ".cache"
"""In a home: where libraries keep what they may lose, see the XDG base directory specification."""
LARGEST_MB = 500.0
"""Of what is kept: every job of the plugin copies it."""
OWN_PLACES = {
    "CUDA_CACHE_PATH": "nv", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton",
}  # fmt: skip
"""Variables of libraries that would else keep them elsewhere in the home, or where temporary files lie."""
OF_THE_USER = frozenset({
    "CUPY_CACHE_DIR", "HF_DATASETS_CACHE", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
    "JAX_COMPILATION_CACHE_DIR", "KERAS_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "SCVI_HOME", "TFHUB_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR", "TORCH_HOME", "TRANSFORMERS_CACHE", "TRITON_DUMP_DIR", "TRITON_HOME",
    "TRITON_OVERRIDE_DIR",
})  # fmt: skip
"""Variables that may name a folder of the user's, where no job can write; without them caches lie in the home."""


def cache_variables(home: Path) -> dict[str, str]:
    """Return where libraries keep what they compile: all in one folder of a job's home."""
    return {name: str(home / PLACE / folder) for name, folder in OWN_PLACES.items()}


def keep_caches(folder: Path) -> tuple[Path | None, str]:
    """Pack the caches that a job left in its home into the file `CACHES` of its folder; its processes have ended.

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
    place = folder / HOME / PLACE
    files = sorted(_plain_files(place))
    size_mb = sum(path.lstat().st_size for path in files) / 1e6
    if size_mb > LARGEST_MB:
        return None, f"the caches that describe() left hold {size_mb:.0f} MB, more than {LARGEST_MB:.0f}: not kept"
    if not files:
        return None, ""
    target = folder / CACHES
    target.unlink(missing_ok=True)  # put there by a plugin that was not sandboxed
    with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED) as archive:
        for path in files:
            # Without its time: two jobs that leave the same leave the same bytes.
            with path.open("rb") as source, archive.open(_entry(path, place), "w", force_zip64=True) as packed:
                while piece := source.read(1 << 20):
                    packed.write(piece)
    return target, ""


def lay_out_caches(caches: Path, home: Path) -> None:
    """Unpack what `keep_caches` packed into the home of another job; without the file, it compiles for itself."""
    with contextlib.suppress(FileNotFoundError), zipfile.ZipFile(caches) as archive:
        archive.extractall(home / PLACE)


def _plain_files(place: Path) -> Iterator[Path]:
    """Yield the files in a folder that are no links: one that leads out would be followed by the watcher, which may."""
    if place.is_symlink() or place.parent.is_symlink():
        return
    for folder, _, names in os.walk(place):  # it follows no links to folders
        for name in names:
            path = Path(folder, name)
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and _is_storable(path) and os.access(path, os.R_OK):
                yield path


def _is_storable(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _entry(path: Path, place: Path) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(path.relative_to(place).as_posix())
