"""The files of a plugin, as they were when the keys of its jobs were made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pertharness.files.whole import sha256_file
from pertharness.host.store.hashes import identity_of


class Sources:
    """Files that jobs import while a run goes on: what they give after an edit belongs under another key.

    Parameters
    ----------
    paths
        Of the files, to be given before their hash enters a key.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._identities = self._look()
        self._sums = [_sum(path) for path in self._paths]

    def find_changed(self) -> Path | None:
        """Return a file that holds something else by now; None if there is none.

        One that looks touched is read again: what a file says counts, not when it was written.
        """
        now = self._look()
        if now == self._identities:
            return None
        for path, digest in zip(self._paths, self._sums, strict=True):
            if _sum(path) != digest:
                return path
        self._identities = now
        return None

    def _look(self) -> list[tuple[int, ...]]:
        return [_identity(path) for path in self._paths]


def _identity(path: Path) -> tuple[int, ...]:
    try:
        return identity_of(path.stat())
    except OSError:
        return ()


def _sum(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return ""
